import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AgentConfig } from '#platform/config/agent-config.js';
import type { Listen } from '#platform/config/environment.js';
import type { EnvoyBinary } from '#platform/envoy/binary.js';
import { readCheckedJson, writeCheckedJson } from '#platform/envoy/durable-file.js';
import { validateOnly } from '#platform/envoy/gate.js';
import { EnvoySupervisor } from '#platform/envoy/hot-restart.js';
import { findEpochs } from '#platform/envoy/launcher.js';
import { MARKER_PATH, PROOF_HEADER } from '#platform/envoy/model/reserved.js';
import { openNodeFolder } from '#platform/envoy/node-folder.js';
import { signalProcess } from '#platform/envoy/process-identity.js';
import { ReleaseStore } from '#platform/envoy/release-store.js';
import { removeSharedMemory } from '#platform/envoy/shared-memory.js';
import type { Log } from '#platform/log/log.js';
import type { AgentTls } from '#platform/xds/agent-connection.js';
import { Hello, Report, type Validated, type ValidateRequest } from '#platform/xds/generated/delivery.js';
import { Deployer } from './deployer.js';
import { EnvoyStats } from './envoy-stats.js';
import { ReportJournal } from './journal.js';
import { createLive, type LiveDelivery } from './live-delivery.js';
import { lockNode } from './node-lock.js';
import { NodeState } from './node-state.js';
import type { StepReport } from './step-report.js';
import { WorkerLink } from './worker-link.js';

export interface AgentOptions {
  readonly config: AgentConfig;
  readonly envoy: EnvoyBinary;
  readonly version: string;
  readonly log: Log;
  readonly failpoint: (name: string) => void;
  /** The live Envoy is another process now. */
  readonly onEnvoy: (envoy: { readonly pid: number; readonly epoch: number }) => void;
}

export interface RunningAgent {
  /** Lets go of the worker and, when `envoy` is stop, ends Envoy politely. Otherwise Envoy serves on. */
  stop(envoy: 'keep' | 'stop'): Promise<void>;
}

/**
 * The agent, from its folder: Envoy first (adopted, or started from disk), then the worker. Everything that the control plane is needed
 * for comes last, so that a node serves without it.
 * @throws NodeLockedError when another agent has the folder.
 */
export async function startAgent({ config, envoy, version, log, failpoint, onEnvoy }: AgentOptions): Promise<RunningAgent> {
  const [folder, ending] = [openNodeFolder(config.dataDir), new AbortController()];
  let describe = () => ({ pid: process.pid, target: config.target, status: {} });
  const lock = await lockNode(folder.path, () => describe());
  await endShadows(folder.shadow);
  const fault = (file: string, reason: string) => log.error({ file, reason }, 'a file of the node is passed over');
  const store = new ReleaseStore(folder.releases, (key, reason) => fault(`release ${key}`, reason));
  const state = new NodeState(folder.path, store, (reason) => fault('state', reason));
  const journal = new ReportJournal(join(folder.path, 'journal'), fault);
  const [stats, proofSecret] = [new EnvoyStats(folder.path), readProofSecret(folder.path)];
  const supervisor = new EnvoySupervisor({
    folder,
    binary: envoy.path,
    launcher: config.launcher,
    concurrency: config.concurrency,
    failpoint,
    onNote: (message, facts) => log.warn(facts, message),
  });
  const report = (step: StepReport) => {
    log.info(toLog(step), step.step);
    link.send(journal.append(toReport(step), step.live === true ? { lasting: false } : {}));
  };
  const reach = { host: reachable(config.http.host), port: config.http.port, headers: { [PROOF_HEADER]: proofSecret } };
  const live: LiveDelivery = createLive({
    ...{ folder, supervisor, state, log, failpoint, report, fault, probe: reach },
    onChange: () => link.statusChanging(),
    signal: ending.signal,
    envoy: () => deployer,
    save: (base) => store.save(base),
  });
  const deployer: Deployer = new Deployer({
    folder,
    supervisor,
    store,
    state,
    binary: envoy.path,
    stats,
    probe: { ...reach, path: MARKER_PATH },
    live: () => live.lane,
    liveStatus: () => live.lane,
    log,
    failpoint,
    report,
    signal: ending.signal,
    onLive: ({ process: { pid }, epoch }) => onEnvoy({ pid, epoch }),
    onChange: () => link.statusChanged(),
  });
  describe = () => ({ pid: process.pid, target: config.target, status: deployer.status() });
  const instance = randomUUID();
  const told = { config, envoy, version, instance, log, journal, failpoint, store, state, stats, supervisor, deployer, live, proofSecret };
  const link: WorkerLink = createLink(told, join(folder.path, 'check'));
  await live.start();
  await deployer.start();
  const linked = link.run();
  return {
    stop: async (what) => {
      ending.abort();
      link.close();
      await Promise.all([deployer.stop(), live.stop()]);
      await linked;
      if (what === 'stop') await supervisor.stop({ graceMs: config.exitGraceMs });
      lock.release();
    },
  };
}

interface LinkParts extends Pick<AgentOptions, 'config' | 'envoy' | 'version' | 'log' | 'failpoint'> {
  readonly instance: string;
  readonly journal: ReportJournal;
  readonly store: ReleaseStore;
  readonly state: NodeState;
  readonly stats: EnvoyStats;
  readonly supervisor: EnvoySupervisor;
  readonly deployer: Deployer;
  readonly live: LiveDelivery;
  readonly proofSecret: string;
}

function createLink(parts: LinkParts, checkFolder: string): WorkerLink {
  const { config, envoy, version, instance, log, journal, failpoint, store, state, stats, supervisor, deployer, live, proofSecret } = parts;
  return new WorkerLink({
    address: config.worker,
    token: config.token,
    tls: () => readTls(config.tls),
    log,
    journal,
    failpoint,
    held: () => store.newest('good', 'candidate')?.release ?? null,
    status: () => deployer.status(),
    stats: () => stats.read(supervisor.admin, () => supervisor.live),
    accept: (release) => deployer.accept(release),
    acceptLive: (release) => live.lane.accept(release),
    liveStored: () => live.stored(),
    validate: (request) => validate(request, envoy.path, checkFolder),
    hello: () =>
      Hello.fromPartial({
        ...{ ...describeNode(config), instance, agentVersion: version, envoyVersion: envoy.version, proofSecret },
        ...(state.accepted === null ? {} : { lastFence: state.accepted.fence }),
        lastRenderSha256: state.accepted?.renderSha256 ?? '',
        status: deployer.status(),
        liveDigest: live.node.digest,
        liveBootstrapSha256: live.node.bootstrapSha256,
      }),
  });
}

function describeNode({
  target,
  gateway,
  http,
  https,
}: AgentConfig): Pick<Hello, 'target' | 'gateway' | 'http'> & Partial<Pick<Hello, 'https'>> {
  return { target, gateway, http: toListen(http), ...(https === undefined ? {} : { https: toListen(https) }) };
}

async function validate({ requestId, json }: ValidateRequest, binary: string, folder: string): Promise<Validated> {
  const startedAt = performance.now();
  const result = await validateOnly({ binary, folder, bootstrap: json });
  return { requestId, ok: result.ok, message: result.ok ? '' : result.message, durationMs: Math.round(performance.now() - startedAt) };
}

function toLog({ name, ...facts }: StepReport): object {
  return { release: name.releaseId, ...facts };
}

function toReport({ name, step, durationMs, epochFrom, epochTo, code, detail, coversFrom, resources }: StepReport): Omit<Report, 'id'> {
  return Report.fromPartial({
    releaseId: name.releaseId,
    version: name.version,
    step,
    atMs: Date.now(),
    durationMs: Math.round(durationMs ?? 0),
    epochFrom: epochFrom ?? -1,
    epochTo: epochTo ?? -1,
    code: code ?? '',
    detail: (detail ?? '').slice(0, 2000),
    coversFrom: coversFrom ?? 0,
    resources: resources?.map(({ typeUrl, name: resource }) => ({ typeUrl, name: resource })) ?? [],
    renderSha256: name.renderSha256,
  });
}

function readTls(files: AgentConfig['tls']): AgentTls | undefined {
  if (files === undefined) return undefined;
  const read = (path: string | undefined) => (path === undefined ? undefined : readFileSync(path));
  return { ca: readFileSync(files.ca), cert: read(files.cert), key: read(files.key) };
}

/** A shadow of an agent that was killed: it ends with its agent as a rule, not when it was stopped (SIGSTOP). */
async function endShadows(shadowFolder: string): Promise<void> {
  for (const { process: shadow, baseId } of await findEpochs(shadowFolder)) {
    signalProcess(shadow, 'SIGKILL');
    removeSharedMemory(baseId);
  }
}

/** The value of the proof header: made once, kept on the node's disk, told to nobody but the worker. */
function readProofSecret(folder: string): string {
  const path = join(folder, 'proof-secret');
  const content = readCheckedJson(path);
  if (typeof content === 'object') return String(content.value);
  const secret = randomBytes(24).toString('hex');
  writeCheckedJson(path, secret);
  return secret;
}

/** Where this machine reaches what listens on an address: a wildcard is no destination. */
function reachable(host: string): string {
  if (host === '0.0.0.0' || host === '') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}

function toListen({ host, port }: Listen): { address: string; port: number } {
  return { address: host, port };
}
