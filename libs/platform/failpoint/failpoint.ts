import { existsSync, readFileSync, renameSync } from 'node:fs';

/**
 * Failpoints: named places where a test may kill, stop or break the process. Without CHANCERY_FAILPOINT_DIR in the
 * environment (production) a failpoint is one comparison and nothing else.
 *
 * A test arms one by writing the file `<dir>/<name>` with the action: `kill` (SIGKILL to itself), `stop` (SIGSTOP; the
 * test sends SIGCONT later) or `throw`. The process that reaches it first renames the file to `<name>.reached`, which
 * is how the test knows, and then acts, once.
 */
let directory: string | undefined;

/** Arms the process: called once at start with the directory from the configuration, or undefined for none. */
export function useFailpoints(dir: string | undefined): void {
  directory = dir;
}

/** Marks a named place, `<process>.<place>`, for instance `worker.afterRender`. */
export function failpoint(name: string): void {
  if (directory !== undefined) act(directory, name);
}

function act(dir: string, name: string): void {
  const file = `${dir}/${name}`;
  if (!existsSync(file)) return;
  let action: string;
  try {
    action = readFileSync(file, 'utf8').trim();
    renameSync(file, `${file}.reached`);
  } catch {
    return; // another process took this one in the same moment
  }
  if (action === 'kill') process.kill(process.pid, 'SIGKILL');
  else if (action === 'stop') process.kill(process.pid, 'SIGSTOP');
  else if (action === 'throw') throw new Error(`failpoint ${name}`);
  else throw new Error(`failpoint ${name}: no such action: ${action}`);
}
