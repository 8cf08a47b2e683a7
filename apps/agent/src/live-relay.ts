import type { EnvoyAdmin } from '#platform/envoy/admin.js';
import { placeOfNode } from '#platform/envoy/epoch-start.js';
import type { Log } from '#platform/log/log.js';
import { AdsEndpoint } from '#platform/xds/ads-endpoint.js';
import type { AdsCaller, EnvoySession, HeldBack, Rejection } from '#platform/xds/envoy-session.js';
import type { EnvoyStream } from '#platform/xds/envoy-stream.js';
import type { ResourceSet } from '#platform/xds/resource-set.js';
import { serveAds } from '#platform/xds/socket-server.js';

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
  /** The epoch whose word counts: the newest live one. */
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

  constructor(options: LiveRelayOptions) {
    this.#options = options;
    this.#endpoint = new AdsEndpoint({ log: options.log, open: async (caller) => this.#open(caller), opened: () => options.onProgress() });
  }

  /** @throws Error when the socket cannot be made. */
  async start(): Promise<void> {
    this.#server = await serveAds(this.#options.socketPath, this.#endpoint.methods());
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

  /** Ends the current epoch's stream: Envoy comes back and is offered again what it has refused. */
  offerAgain(reason: string): void {
    this.stream?.close(reason);
  }

  close(): void {
    this.#endpoint.close('the agent ends');
    this.#server?.close();
  }

  #open({ node }: AdsCaller): EnvoySession {
    const { served, admin, systemVersion, current, onRejected, onHeldBack, onProgress, log } = this.#options;
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
      onSettled: onProgress,
      onClosed: (reason) => {
        log.info({ node: node.id, reason }, 'an Envoy has gone from its stream');
        onProgress();
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
