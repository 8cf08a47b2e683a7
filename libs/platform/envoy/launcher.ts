import { spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync, statSync } from 'node:fs';
import { identifyProcess, type ProcessIdentity } from './process-identity.js';
import { waitUntil } from './wait-until.js';

/** How one epoch is started; everything of it can be read back from the process table. */
export interface EpochOptions {
  readonly binary: string;
  /** The node's folder: working directory, so relative paths in the configuration are the folder's. */
  readonly cwd: string;
  readonly baseId: number;
  readonly epoch: number;
  /** Relative to `cwd`. */
  readonly configPath: string;
  readonly drainTimeS: number;
  readonly parentShutdownTimeS: number;
  /** Constant for the life of a lineage: a child with fewer workers would drop the connections queued on the others' sockets. */
  readonly concurrency: number;
  /** Start even when the parent has died (epoch > 0 only); without it Envoy aborts after ten seconds. */
  readonly skipOnNoParent: boolean;
  /** Where stdout and stderr go. */
  readonly logPath: string;
  /** Instead of the configuration's node id. */
  readonly serviceNode?: string | undefined;
  /** A program that forks as the shell does, for where there is no shell (deploy/launcher). */
  readonly launcher?: string | undefined;
}

/** An Envoy found in the process table. */
export interface FoundEpoch {
  readonly process: ProcessIdentity;
  readonly baseId: number;
  readonly epoch: number;
  readonly configPath: string;
  readonly drainTimeS: number;
  readonly parentShutdownTimeS: number;
  readonly concurrency: number;
}

/*
 * Envoy asks the kernel to end it together with the thread that forked it (PR_SET_PDEATHSIG), so an Envoy spawned by Node dies when
 * the agent is killed. The shell forks again and its child becomes Envoy only when the pipe from Node is closed, which happens after the
 * shell was seen to end (or when the agent is killed): the parent that Envoy sees is already the reaper, and nothing that happens to the
 * agent, or to a slow shell, can reach it. `detached` (setsid) keeps it out of the terminal's Ctrl-C.
 */
const LAUNCH = `umask 077
log=$1; shift
exec 3<&0
( read -r end <&3; exec "$@" 3<&- ) </dev/null >>"$log" 2>&1 &
echo $!`;

/** Starts an epoch that outlives this process. Resolves when it is forked, which says nothing yet about its health. */
export async function launchEpoch(options: EpochOptions): Promise<ProcessIdentity> {
  // The environment is empty on purpose: a header value can read Envoy's environment (%ENVIRONMENT(X)%).
  const [program, words] = options.launcher === undefined ? ['/bin/sh', ['-c', LAUNCH, 'envoy-launcher']] : [options.launcher, ['fork']];
  const shell = spawn(program, [...words, options.logPath, options.binary, ...epochArguments(options)], {
    argv0: 'envoy-launcher',
    cwd: options.cwd,
    env: {},
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  shell.stdout.on('data', (chunk: Buffer) => {
    output.stdout += chunk.toString();
  });
  shell.stderr.on('data', (chunk: Buffer) => {
    output.stderr += chunk.toString();
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    shell.stdin.on('error', () => {}); // the shell has gone without reading: 'close' tells
    shell.on('exit', () => shell.stdin.end());
    shell.on('error', (error) => reject(new Error(`cannot start Envoy ${options.binary}: ${error.message}`, { cause: error })));
    shell.on('close', (exitCode) => resolve(exitCode));
  });
  const pid = Number(output.stdout.trim());
  if (code !== 0 || !Number.isInteger(pid) || pid <= 0) {
    throw new Error(
      `cannot start Envoy ${options.binary}: the launcher ended with ${code}: ${output.stderr.trim() || output.stdout.trim()}`,
    );
  }
  // One that has died already is told by a start time that no process has.
  return identifyProcess(pid) ?? { pid, startTicks: 'gone' };
}

/**
 * Every Envoy whose working directory is this folder, oldest epoch first: also those that a killed agent started and never recorded.
 * Waits for launchers that are between fork and exec.
 */
export async function findEpochs(cwd: string): Promise<readonly FoundEpoch[]> {
  const settled = await waitUntil(
    () => {
      const found = scan(cwd);
      return found.launching ? null : found;
    },
    { timeoutMs: 2000, everyMs: 5 },
  );
  const { epochs } = settled ?? scan(cwd);
  return [...epochs].sort((a, b) => a.epoch - b.epoch);
}

/** The last lines that an epoch wrote, newest last: why it refused to start. */
export function tailOfLog(logPath: string, maxBytes = 16 * 1024): string {
  let size: number;
  try {
    size = statSync(logPath).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
  const fd = openSync(logPath, 'r');
  try {
    const length = Math.min(size, maxBytes);
    const bytes = Buffer.alloc(length);
    readSync(fd, bytes, 0, length, size - length);
    return bytes.toString('utf8');
  } finally {
    closeSync(fd);
  }
}

export function epochArguments(options: EpochOptions): readonly string[] {
  return [
    ...['-c', options.configPath],
    ...['--base-id', String(options.baseId)],
    ...['--restart-epoch', String(options.epoch)],
    ...['--concurrency', String(options.concurrency)],
    // A listener that changes in place drains by this as well, and all connections that it has left are cut at the end; gradual, few are asked to leave before.
    ...['--drain-time-s', String(options.drainTimeS), '--drain-strategy', 'immediate'],
    ...['--parent-shutdown-time-s', String(options.parentShutdownTimeS)],
    ...(options.skipOnNoParent && options.epoch > 0 ? ['--skip-hot-restart-on-no-parent'] : []),
    ...(options.serviceNode === undefined ? [] : ['--service-node', options.serviceNode]),
    ...['--log-level', 'warning'],
  ];
}

function scan(cwd: string): { epochs: readonly FoundEpoch[]; launching: boolean } {
  const epochs: FoundEpoch[] = [];
  let launching = false;
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    const found = readEpoch(pid, cwd);
    if (found === 'launching') launching = true;
    else if (found !== null) epochs.push(found);
  }
  return { epochs, launching };
}

function readEpoch(pid: number, cwd: string): FoundEpoch | 'launching' | null {
  let words: readonly string[];
  try {
    if (readlinkSync(`/proc/${pid}/cwd`) !== cwd) return null;
    words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch (error) {
    // Gone meanwhile, or another user's process: neither is ours.
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
    throw error;
  }
  const value = (option: string) => words[words.indexOf(option) + 1];
  if (!words.includes('--base-id') || !words.includes('--restart-epoch') || !words.includes('-c')) return null;
  if (words.includes('envoy-launcher')) return 'launching';
  const process_ = identifyProcess(pid);
  if (process_ === null) return null;
  return {
    process: process_,
    baseId: Number(value('--base-id')),
    epoch: Number(value('--restart-epoch')),
    configPath: value('-c') ?? '',
    drainTimeS: Number(value('--drain-time-s')),
    parentShutdownTimeS: Number(value('--parent-shutdown-time-s')),
    concurrency: Number(value('--concurrency')),
  };
}
