import type { EnvoyAdmin } from '#platform/envoy/admin.js';
import { placeOfNode } from '#platform/envoy/epoch-start.js';
import type { Log } from '#platform/log/log.js';
import { AdsEndpoint } from '#platform/xds/ads-endpoint.js';
import type { AdsCaller, EnvoySession, HeldBack, Rejection } from '#platform/xds/envoy-session.js';
import type { EnvoyStream } from '#platform/xds/envoy-stream.js';
import type { ResourceSet } from '#platform/xds/resource-set.js';
import { serveAds } from '#platform/xds/socket-server.js';
import { LISTENER_TYPE } from '#platform/xds/xds-resource.js';

/** An epoch of Envoy's, whichever process it is. */
export interface Place {
  readonly baseId: number;
  readonly epoch: number;
}

export interface LiveRelayOptions {
  readonly socketPath: string;
  /** What every Envoy of this node should have. */
  readonly served: ResourceSet;
  readonly admin: EnvoyAdmin;
  readonly log: Log;
  readonly systemVersion: () => string;
  /** The epoch whose word counts: the one that was live last. */
  readonly current: () => Place | null;
  /** Of the current epoch only. */
  readonly onRejected: (rejection: Rejection) => void;
  readonly onHeldBack: (held: readonly HeldBack[]) => void;
  /** An epoch has come, gone, or got further. */
  readonly onProgress: () => void;
}

/**
 * ADS for the Envoys of this node, from the agent's own set: during a hot restart there are two, and both get everything. What the older one says does not
 * count: it drains, and has another bootstrap.
 */
export class LiveRelay {
  readonly #options: LiveRelayOptions;
  readonly #endpoint: AdsEndpoint;
  #server: { close(): void } | null = null;
  #waiting: { readonly revision: number; readonly then: () => void }[] = [];

  constructor(options: LiveRelayOptions) {
    this.#options = options;
    this.#endpoint = new AdsEndpoint({ log: options.log, open: async (caller) => this.#open(caller), opened: () => this.#progress() });
  }

  /** @throws Error when the socket cannot be made. */
  async start(): Promise<void> {
    this.#server = await serveAds(this.#options.socketPath, this.#endpoint);
  }

  /** The set has changed: what can go to an Envoy at once is written before this returns. */
  update(): void {
    for (const stream of this.#endpoint.streams) stream.update();
  }

  /** The stream of the current epoch; null while it is not connected. */
  get stream(): EnvoyStream | null {
    const current = this.#options.current();
    // The newest one: of an older one the end may not have been seen yet.
    return [...this.#endpoint.streams].findLast((stream) => samePlace(placeOfNode(stream.node.id), current)) ?? null;
  }

  /** Calls once when the current epoch has settled on this revision; when it goes first, the next one is asked for no more than that. */
  whenSettled(revision: number, then: () => void): void {
    this.#waiting.push({ revision, then });
    this.#progress();
  }

  /** Whether the current epoch has a listener: one that has none serves nobody. */
  get listens(): boolean {
    return (this.stream?.held(LISTENER_TYPE).size ?? 0) > 0;
  }

  /** Ends the current epoch's stream: Envoy comes back and is offered again what it has refused. */
  reconnect(reason: string): void {
    this.stream?.close(reason);
  }

  close(): void {
    this.#endpoint.close('the agent ends');
    this.#server?.close();
  }

  #progress(): void {
    this.#options.onProgress();
    const settled = this.stream?.settledRevision ?? -1;
    const due = this.#waiting.filter(({ revision }) => revision <= settled);
    if (due.length === 0) return;
    this.#waiting = this.#waiting.filter((one) => !due.includes(one));
    // Not from within the stream's own work.
    setImmediate(() => {
      for (const { then } of due) then();
    });
  }

  #open({ node }: AdsCaller): EnvoySession {
    const { served, admin, systemVersion, current, onRejected, onHeldBack, log } = this.#options;
    const counts = () => samePlace(placeOfNode(node.id), current());
    log.info({ node: node.id }, 'an Envoy asks for its resources');
    return {
      sets: [served],
      systemVersion,
      warming: async () => {
        // The admin is the newest epoch's; of another one nobody can ask.
        if (!counts()) throw new Error('this epoch has no admin');
        return warmingClusters(await admin.json('/config_dump?resource=dynamic_warming_clusters', { timeoutMs: 2000 }));
      },
      onRejected: (rejection) => {
        if (counts()) onRejected(rejection);
      },
      onHeldBack: (held) => {
        if (counts()) onHeldBack(held);
      },
      onSettled: () => this.#progress(),
      onClosed: (reason) => {
        log.info({ node: node.id, reason }, 'an Envoy has gone from its stream');
        this.#progress();
      },
    };
  }
}

function samePlace(a: Place | null, b: Place | null): boolean {
  return a !== null && b !== null && a.baseId === b.baseId && a.epoch === b.epoch;
}

function warmingClusters(dump: unknown): ReadonlySet<string> {
  const { configs = [] } = dump as { configs?: readonly { cluster?: { name?: string } }[] };
  return new Set(configs.flatMap(({ cluster }) => cluster?.name ?? []));
}
