import { type Bootstrap, markerBootstrap } from '#platform/envoy/envoy.fixture.js';
import { MARKER_PATH, PROOF_HEADER } from '#platform/envoy/model/reserved.js';
import { waitUntil } from '#platform/envoy/wait-until.js';
import { sha256Hex } from '#platform/kernel/digest.js';
import { createLog } from '#platform/log/log.js';
import { startDeliveryServer } from '#platform/xds/delivery-server.js';
import type { DeliverySession, EncodedRelease, PushOutcome } from '#platform/xds/delivery-session.js';
import { type Fence, Manifest, type Report, type Stats, type Status } from '#platform/xds/generated/delivery.js';
import { encodeLiveRelease } from '#platform/xds/live-release.js';
import {
  BOOTSTRAP_NAME,
  BOOTSTRAP_TYPE,
  ENDPOINTS_TYPE,
  encodeBootstrap,
  encodeEndpointFile,
  encodeManifest,
} from '#platform/xds/resource.js';
import { ResourceSet } from '#platform/xds/resource-set.js';
import type { ResourceChange, XdsResource } from '#platform/xds/xds-resource.js';
import { liveBootstrap, liveFilter, liveListener, probeOf, reservedScope } from './live.fixture.js';

/*
 * The worker's end of the line for the agent's tests and benches: the real delivery server, with releases made by hand.
 */

export const TOKEN = 'agent-test-token';

export interface ReleaseOptions {
  /** What `/` answers; equal bodies are equal renders. */
  readonly body: string;
  readonly version?: number;
  readonly lineage?: number;
  readonly term?: number;
  readonly drainTimeS?: number;
  readonly parentShutdownTimeS?: number;
  readonly force?: boolean;
  readonly bend?: (bootstrap: Bootstrap) => void;
  readonly endpoints?: Readonly<Record<string, string>>;
  readonly probes?: readonly { path: string; body: string }[];
}

export interface LivePush {
  /** By name: a scope's body, which its probe answers too. */
  readonly upserts?: readonly XdsResource[];
  readonly removed?: readonly XdsResource[];
  /** Probes instead of those that the changed scopes give. */
  readonly probes?: readonly { path: string; body: string }[];
  readonly version?: number;
  readonly term?: number;
  readonly coversFrom?: number;
  readonly bootstrap?: Buffer;
  /** A base that the node does not have. */
  readonly baseDigest?: string;
  readonly digest?: string;
  readonly whole?: boolean;
  readonly drainTimeS?: number;
  readonly parentShutdownTimeS?: number;
}

export type LivePushOutcome = {
  readonly kind: 'acknowledged' | 'refused' | 'unknown';
  readonly message: string;
  readonly releaseId: string;
  readonly version: number;
};

export interface TestWorker {
  readonly port: number;
  readonly reports: Report[];
  readonly stats: Stats[];
  readonly status: () => Status | undefined;
  readonly session: () => DeliverySession | undefined;
  /** Pushes the next release and answers how the push went. */
  push(options: ReleaseOptions): Promise<PushOutcome & { releaseId: string }>;
  /** Pushes a live release: the changes, against what the node was last known to hold. */
  pushLive(change: LivePush): Promise<LivePushOutcome>;
  /** What the worker believes that the node holds. */
  readonly set: () => ResourceSet;
  /** Waits for a report of this release with this step. */
  reported(releaseId: string, step: string, timeoutMs?: number): Promise<Report>;
  close(): Promise<void>;
}

export async function startTestWorker(httpPort: number, { port = 0, sequence = 0 } = {}): Promise<TestWorker> {
  const reports: Report[] = [];
  const stats: Stats[] = [];
  let session: DeliverySession | undefined;
  let status: Status | undefined;
  let term = 0;
  let last = sequence;
  let set = new ResourceSet();
  /** Pushed when the connection broke: the node says in its next hello whether it has it. */
  let unknown: ResourceSet | undefined;
  const server = await startDeliveryServer({
    host: '127.0.0.1',
    port,
    log: createLog({ process: 'test-worker', level: 'silent' }),
    handlers: {
      authenticate: async (token) => (token === TOKEN ? { id: 'test', scopes: ['agent:*'], actor: 'token/test' } : undefined),
      opened: async (opened) => {
        term = Math.max(term, opened.hello.lastFence?.term ?? 0) + 1;
        status = opened.hello.status;
        return { term, lineage: 1, lineageId: 'test', statsIntervalMs: 200 };
      },
      subscribed: (opened) => {
        session = opened;
      },
      closed: (closed) => {
        if (session === closed) session = undefined;
      },
      status: async (_session, next) => {
        status = next;
      },
      report: async (from, report) => {
        if (!reports.some(({ id }) => id === report.id)) reports.push(report);
        from.acknowledge(report.id);
        return 'later';
      },
      stats: async (_session, next) => {
        stats.push(next);
      },
    },
  });
  return {
    port: server.port,
    reports,
    stats,
    status: () => status,
    session: () => session,
    async push(options) {
      const connected = await waitUntil(() => session ?? null, { timeoutMs: 10_000, everyMs: 5 });
      if (connected === null) throw new Error('no agent has connected');
      last += 1;
      const fence = { lineage: options.lineage ?? 1, lineageId: 'test', term: options.term ?? term, sequence: last };
      const releaseId = `${fence.lineage}.${fence.term}.${fence.sequence}`;
      const outcome = await connected.push(encodeTestRelease(httpPort, fence, releaseId, connected.hello.proofSecret, options));
      return { ...outcome, releaseId };
    },
    set: () => set,
    async pushLive(change) {
      const connected = await waitUntil(() => (session?.takesLive === true ? session : null), { timeoutMs: 10_000, everyMs: 1 });
      if (connected === null) throw new Error('no agent takes live releases');
      if (unknown !== undefined && connected.hello.liveDigest === unknown.digest) set = unknown;
      unknown = undefined;
      last += 1;
      const fence = { lineage: 1, lineageId: 'test', term: change.term ?? term, sequence: last };
      const whole = change.whole === true || set.size === 0;
      if (set.size === 0)
        set.apply({ upserts: [liveListener(httpPort), liveFilter(), reservedScope('marker', connected.hello.proofSecret)], removed: [] });
      const before = set.digest;
      const next = ResourceSet.of(set);
      const changed: ResourceChange = { upserts: change.upserts ?? [], removed: change.removed ?? [] };
      next.apply(changed);
      const outcome = await pushLive(connected, { change, whole, before, next, fence, changed });
      if (outcome.kind === 'acknowledged') set = next;
      if (outcome.kind === 'unknown') unknown = next;
      return outcome;
    },
    async reported(releaseId, step, timeoutMs = 15_000) {
      const found = await waitUntil(() => reports.find((report) => report.releaseId === releaseId && report.step === step) ?? null, {
        timeoutMs,
        everyMs: 5,
      });
      if (found === null)
        throw new Error(
          `no report ${step} of ${releaseId}, but: ${JSON.stringify(reports.map((r) => [r.releaseId, r.step, r.code, r.detail]))}`,
        );
      return found;
    },
    close: () => server.close(),
  };
}

async function pushLive(
  session: DeliverySession,
  parts: { change: LivePush; whole: boolean; before: string; next: ResourceSet; fence: Fence; changed: ResourceChange },
): Promise<LivePushOutcome> {
  const { change, whole, before, next, fence, changed } = parts;
  const bootstrap = change.bootstrap ?? liveBootstrap();
  const releaseId = `${fence.lineage}.${fence.term}.${fence.sequence}`;
  const version = change.version ?? fence.sequence;
  const head = {
    ...{ releaseId, fence, gateway: 'default', version, coversFrom: change.coversFrom ?? version },
    baseDigest: change.baseDigest ?? (whole ? '' : before),
    digest: change.digest ?? next.digest,
    bootstrap,
    bootstrapSha256: sha256Hex(bootstrap),
    renderSha256: sha256Hex(`${next.digest}${sha256Hex(bootstrap)}`),
    probes: change.probes ?? (change.upserts ?? []).flatMap(probeOf),
    marker: 'marker',
    drainTimeS: change.drainTimeS ?? 1,
    parentShutdownTimeS: change.parentShutdownTimeS ?? 2,
    ...{ force: false, lowerVersionReason: '', proofAnswers: 30 },
  };
  const encoded = encodeLiveRelease(head, whole ? { upserts: next, removed: [] } : changed);
  const answered = new Promise<{ kind: LivePushOutcome['kind']; message?: string }>((resolve) => session.pushLive(encoded, resolve));
  const lost = waitUntil(() => session.closedBecause ?? null, { timeoutMs: 30_000, everyMs: 5 });
  const answer = await Promise.race([answered, lost.then((message) => ({ kind: 'unknown' as const, message: message ?? '' }))]);
  return { kind: answer.kind, message: answer.message ?? '', releaseId, version };
}

function encodeTestRelease(httpPort: number, fence: Fence, releaseId: string, secret: string, options: ReleaseOptions): EncodedRelease {
  const json = Buffer.from(JSON.stringify(testBootstrap(httpPort, releaseId, secret, options)));
  const endpoints = Object.entries(options.endpoints ?? {}).map(([name, text]) => ({ name, json: Buffer.from(text) }));
  const manifest = Manifest.fromPartial({
    releaseId,
    fence,
    gateway: 'default',
    version: options.version ?? fence.sequence,
    renderSha256: sha256Hex(JSON.stringify(testBootstrap(httpPort, '', '', options))),
    items: [
      { typeUrl: BOOTSTRAP_TYPE, name: BOOTSTRAP_NAME, sha256: sha256Hex(json) },
      ...endpoints.map((file) => ({ typeUrl: ENDPOINTS_TYPE, name: file.name, sha256: sha256Hex(file.json) })),
    ],
    marker: releaseId,
    probes: [...(options.probes ?? [])],
    drainTimeS: options.drainTimeS ?? 1,
    parentShutdownTimeS: options.parentShutdownTimeS ?? 2,
    force: options.force ?? false,
    proofAnswers: 30,
  });
  return {
    bootstrap: encodeBootstrap(json),
    endpoints: endpoints.map((file) => encodeEndpointFile(file.name, file.json)),
    manifest: encodeManifest(manifest),
  };
}

function testBootstrap(port: number, marker: string, secret: string, options: ReleaseOptions): Bootstrap {
  const bootstrap = markerBootstrap(port, options.body);
  const [virtualHost] = bootstrap.static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts;
  virtualHost.routes.unshift({
    match: { path: MARKER_PATH, headers: [{ name: PROOF_HEADER, string_match: { exact: secret || 'none' } }] },
    direct_response: { status: 200, body: { inline_string: marker || 'none' } },
  });
  options.bend?.(bootstrap);
  return bootstrap;
}
