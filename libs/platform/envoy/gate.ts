import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { EnvoyAdmin, EnvoyAdminError } from './admin.js';
import { checkBootstrap, type ParsedBootstrap, plainListeners, toShadow } from './bootstrap-check.js';
import { epochArguments, tailOfLog } from './launcher.js';
import { newLineage } from './lineage.js';
import { ADMIN_SOCKET, XDS_SOCKET } from './node-folder.js';
import { type Proof, prove } from './proof.js';
import { refusalReason } from './refusal-reason.js';
import { removeSharedMemory } from './shared-memory.js';
import { waitUntil } from './wait-until.js';

export interface GateInput {
  readonly binary: string;
  /** A folder of the gate's own, emptied at the start: it stands for the node's folder. One gate at a time may use it. */
  readonly folder: string;
  readonly bootstrap: Uint8Array;
  /** Files that the bootstrap names, by their path relative to the node's folder. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** What a shadow of this configuration must answer on each plain listener. */
  readonly probe: { readonly path: string; readonly headers: Readonly<Record<string, string>>; readonly marker: string };
  /**
   * For a configuration that is delivered live: answers the shadow's ADS on this socket, with nothing, until it is closed. A shadow without listeners takes no
   * port and is asked for no marker; that it comes up is what is wanted of it.
   */
  readonly serveNothing?: ((socketPath: string) => Promise<{ close(): void }>) | undefined;
  readonly validateTimeoutMs?: number;
  readonly shadowTimeoutMs?: number;
  /** Called after each step that passed, with its duration. */
  readonly onStep?: (step: GateStep, durationMs: number) => void;
}

export type GateStep = 'checked' | 'validated' | 'shadow_booted';

export type GateResult =
  | { readonly ok: true }
  | { readonly ok: false; readonly step: GateStep; readonly code: string; readonly message: string; readonly durationMs: number };

interface Refusal {
  readonly code: string;
  readonly message: string;
}

/** Right answers in a row from the shadow: one worker thread, so more would prove nothing more. */
const SHADOW_ANSWERS = 3;

/**
 * What a configuration passes before a child is forked from the serving Envoy with it, since a child that fails late costs the parent
 * its admin: our own checks, Envoy's `--mode validate`, and a shadow boot, a whole Envoy with the same configuration on private ports
 * that must come up and give the right marker.
 */
export async function passGate(input: GateInput): Promise<GateResult> {
  let parsed: ParsedBootstrap | undefined;
  const steps: readonly [GateStep, () => Promise<Refusal | null>][] = [
    [
      'checked',
      async () => {
        const check = checkBootstrap(input.bootstrap, { live: input.serveNothing !== undefined });
        if (!check.ok) return check;
        parsed = check.bootstrap;
        const missing = check.paths.find((path) => !input.files.has(path));
        if (missing !== undefined)
          return { code: 'file_missing', message: `the configuration names the file ${missing}, which the release does not hold` };
        fillFolder(input.folder, input.bootstrap, input.files);
        return null;
      },
    ],
    ['validated', () => validate(input.binary, input.folder, input.validateTimeoutMs ?? 60_000)],
    ['shadow_booted', () => shadowBoot(input, parsed ?? {})],
  ];
  for (const [step, run] of steps) {
    const startedAt = performance.now();
    const refusal = await run();
    const durationMs = performance.now() - startedAt;
    if (refusal !== null) return { ok: false, step, code: refusal.code, message: refusal.message, durationMs };
    input.onStep?.(step, durationMs);
  }
  return { ok: true };
}

/**
 * `envoy --mode validate` alone, for whoever looks for the part of a configuration that Envoy refuses. Files that it names and that are
 * not given are made empty, because their content is not what is asked about.
 */
export async function validateOnly(input: Pick<GateInput, 'binary' | 'folder' | 'bootstrap' | 'validateTimeoutMs'>): Promise<GateResult> {
  const startedAt = performance.now();
  const check = checkBootstrap(input.bootstrap);
  if (!check.ok) return { ok: false, step: 'checked', code: check.code, message: check.message, durationMs: performance.now() - startedAt };
  const empty = new TextEncoder().encode('{"version_info":"0","resources":[]}');
  fillFolder(input.folder, input.bootstrap, new Map(check.paths.map((path) => [path, empty])));
  const refusal = await validate(input.binary, input.folder, input.validateTimeoutMs ?? 60_000);
  return refusal === null ? { ok: true } : { ok: false, step: 'validated', ...refusal, durationMs: performance.now() - startedAt };
}

const CONFIG = 'bootstrap.json';

function fillFolder(folder: string, bootstrap: Uint8Array, files: ReadonlyMap<string, Uint8Array>): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeFileSync(join(folder, CONFIG), bootstrap, { mode: 0o600 });
  for (const [path, bytes] of files) {
    mkdirSync(join(folder, dirname(path)), { recursive: true, mode: 0o700 });
    writeFileSync(join(folder, path), bytes, { mode: 0o600 });
  }
}

async function validate(binary: string, folder: string, timeoutMs: number): Promise<Refusal | null> {
  const log = join(folder, 'validate.log');
  const envoy = spawnWithLog(binary, ['--mode', 'validate', '-c', CONFIG, '--log-level', 'warning'], folder, log);
  const ended = await endOf(envoy, timeoutMs);
  if (ended === 'timeout') return { code: 'validate_timeout', message: `envoy --mode validate did not end within ${timeoutMs} ms` };
  return ended === 0
    ? null
    : { code: 'envoy_refused', message: refusalReason(tailOfLog(log)) || `envoy --mode validate ended with ${ended}` };
}

async function shadowBoot(
  { binary, folder, probe, serveNothing, shadowTimeoutMs = 60_000 }: GateInput,
  bootstrap: ParsedBootstrap,
): Promise<Refusal | null> {
  const log = join(folder, 'shadow.log');
  writeFileSync(join(folder, 'shadow.json'), JSON.stringify(toShadow(bootstrap)), { mode: 0o600 });
  const { baseId } = newLineage();
  const ads = await serveNothing?.(join(folder, XDS_SOCKET));
  // Hot restart stays on, with a base id of its own: then Envoy ends together with this process, whatever kills it. Forked by Node
  // itself and not through the launcher for the same reason.
  const options = { ...{ drainTimeS: 1, parentShutdownTimeS: 2, concurrency: 1, skipOnNoParent: false }, epoch: 0, baseId };
  const words = epochArguments({ ...options, binary, cwd: folder, configPath: 'shadow.json', logPath: log });
  const envoy = spawnWithLog(binary, words, folder, log);
  const deadline = performance.now() + shadowTimeoutMs;
  try {
    const admin = new EnvoyAdmin(join(folder, ADMIN_SOCKET));
    const became = await waitUntil(() => stateOf(envoy, admin), { timeoutMs: shadowTimeoutMs, everyMs: 5 });
    if (became === null) return { code: 'shadow_timeout', message: `a shadow Envoy was not live within ${shadowTimeoutMs} ms` };
    if (became === 'ended') return { code: 'envoy_refused', message: refusalReason(tailOfLog(log)) || 'the shadow Envoy ended at once' };
    const addresses = await admin.listenerAddresses({ timeoutMs: 10_000 });
    for (const name of plainListeners(bootstrap)) {
      const address = addresses.get(name);
      if (address === undefined) return { code: 'listener_missing', message: `the shadow Envoy has no listener ${name}` };
      const timeoutMs = Math.max(500, Math.min(5000, deadline - performance.now()));
      const proof: Proof = await prove({ ...probe, host: '127.0.0.1', port: address.port, answers: SHADOW_ANSWERS, timeoutMs });
      if (!proof.proven)
        return { code: 'proof_missing', message: `the shadow Envoy did not give the marker on ${name}, but: ${proof.seen}` };
    }
    return null;
  } finally {
    ads?.close();
    envoy.kill('SIGKILL');
    await endOf(envoy, 5000);
    removeSharedMemory(baseId);
  }
}

async function stateOf(envoy: ChildProcess, admin: EnvoyAdmin): Promise<'live' | 'ended' | null> {
  if (envoy.exitCode !== null || envoy.signalCode !== null) return 'ended';
  try {
    return (await admin.serverInfo({ timeoutMs: 5000 })).state === 'LIVE' ? 'live' : null;
  } catch (error) {
    if (error instanceof EnvoyAdminError) return null; // not yet
    throw error;
  }
}

function spawnWithLog(binary: string, words: readonly string[], cwd: string, log: string): ChildProcess {
  const fd = openSync(log, existsSync(log) ? 'w' : 'wx', 0o600);
  try {
    return spawn(binary, words, { cwd, env: {}, stdio: ['ignore', fd, fd] });
  } finally {
    closeSync(fd);
  }
}

/** The exit code (or the signal's name); kills what does not end in time. */
function endOf(child: ChildProcess, timeoutMs: number): Promise<number | string | 'timeout'> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve(child.exitCode ?? child.signalCode ?? 'unknown');
  return new Promise((resolve, reject) => {
    const deadline = setTimeout(() => {
      child.kill('SIGKILL');
      resolve('timeout');
    }, timeoutMs);
    child.once('error', (error) => {
      clearTimeout(deadline);
      reject(new Error(`cannot run Envoy: ${error.message}`, { cause: error }));
    });
    child.once('exit', (code, signal) => {
      clearTimeout(deadline);
      resolve(code ?? signal ?? 'unknown');
    });
  });
}
