import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface StartWords {
  readonly command: string;
  readonly words: readonly string[];
  /** Its log, `<name>.log`, is written there. */
  readonly folder: string;
  readonly name: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Keep stdin and stdout as pipes, to talk to it. */
  readonly talk?: boolean;
}

const started = new Set<ChildProcess>();
// However the bench ends, what it started ends too.
process.once('exit', () => {
  for (const child of started) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

/** A process that a bench started, and ends. */
export class StartedProcess {
  readonly child: ChildProcess;
  #said = '';
  readonly #ended: Promise<void>;

  constructor({ command, words, folder, name, env, cwd, talk }: StartWords) {
    const log = createWriteStream(join(folder, `${name}.log`));
    const keep = (chunk: Buffer) => {
      log.write(chunk);
      this.#said = (this.#said + chunk.toString()).slice(-1500);
    };
    this.child = spawn(command, words, {
      cwd: cwd ?? folder,
      env: { PATH: process.env.PATH ?? '', HOME: folder, ...env },
      stdio: [talk ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    });
    if (!talk) this.child.stdout?.on('data', keep);
    this.child.stderr?.on('data', keep);
    this.#ended = new Promise((resolve) => {
      this.child.once('error', () => resolve());
      this.child.once('exit', () => resolve());
    });
    started.add(this.child);
    this.child.once('exit', () => started.delete(this.child));
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get hasEnded(): boolean {
    return this.child.pid === undefined || this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** The end of what it printed. */
  said(): string {
    return this.#said;
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM', deadlineMs = 10_000): Promise<void> {
    if (this.hasEnded) return;
    this.child.kill(signal);
    const late = await Promise.race([this.#ended.then(() => false), sleep(deadlineMs, true, { ref: false })]);
    if (late) this.child.kill('SIGKILL');
    await this.#ended;
  }
}

/** Waits until it is so. @throws Error with `what`, and what the process said, when it is not so in time or the process has ended. */
export async function untilSo(
  what: string,
  isSo: () => Promise<boolean> | boolean,
  { deadlineMs = 60_000, everyMs = 20, of }: { deadlineMs?: number; everyMs?: number; of?: StartedProcess } = {},
): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (!(await isSo())) {
    if (of?.hasEnded) throw new Error(`${what}: the process has ended\n${of.said()}`);
    if (performance.now() > end) throw new Error(`${what}: not within ${deadlineMs} ms\n${of?.said() ?? ''}`);
    await sleep(everyMs);
  }
}

/** The resident memory of processes and their children, MB. */
export function residentMb(pids: readonly number[]): number {
  const parents = new Map<number, number>();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const stat = read(`/proc/${entry}/stat`);
    parents.set(Number(entry), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
  }
  const isOurs = (pid: number | undefined): boolean => pid !== undefined && pid > 1 && (pids.includes(pid) || isOurs(parents.get(pid)));
  let kilobytes = 0;
  for (const pid of parents.keys()) if (isOurs(pid)) kilobytes += Number(/VmRSS:\s+(\d+)/.exec(read(`/proc/${pid}/status`))?.[1] ?? 0);
  return kilobytes / 1024;
}

/** How long ago a process was started, milliseconds; the system tells it in hundredths of a second. */
export function ageMs(pid: number): number {
  const stat = read(`/proc/${pid}/stat`);
  const startedAtTicks = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
  return Number(read('/proc/uptime').split(' ')[0]) * 1000 - startedAtTicks * 10;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // it has ended meanwhile
  }
}
