import { existsSync, readFileSync, renameSync } from 'node:fs';

/**
 * Failpoints: named places where a test may kill, stop or break the process. Without CHANCERY_FAILPOINT_DIR in the
 * environment (production) a failpoint is one comparison and nothing else.
 *
 * A test arms one by writing the file `<dir>/<name>` with the action: `kill` (SIGKILL to itself), `stop` (SIGSTOP; the
 * test sends SIGCONT later), either with pids (`kill 123 124`) for other processes, or `throw`. The process that reaches it
 * first renames the file to `<name>.reached`, which is how the test knows, and then acts, once.
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
  const [verb, ...pids] = action.split(' ');
  if (verb === 'throw') throw new Error(`failpoint ${name}`);
  const signal = verb === 'kill' ? 'SIGKILL' : verb === 'stop' ? 'SIGSTOP' : undefined;
  if (signal === undefined) throw new Error(`failpoint ${name}: no such action: ${action}`);
  for (const pid of pids.length === 0 ? [process.pid] : pids.map(Number)) process.kill(pid, signal);
}
