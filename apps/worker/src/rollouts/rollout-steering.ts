import type { Wanted } from '#features/promotion/promotion.js';
import type { Log } from '#platform/log/log.js';

import type { GatewayFold } from '../fold/gateway-fold.js';
import type { GatewayVersions } from '../fold/gateway-versions.js';
import type { GatewayPublisher } from '../live/gateway-publisher.js';
import type { LiveLane } from '../live/live-lane.js';
import type { RolloutDirector } from './rollout-director.js';

export interface RolloutSteeringOptions {
  readonly director: Pick<RolloutDirector, 'plan' | 'wanted'>;
  readonly versions: GatewayVersions;
  readonly log: Log;
  publisher(gateway: string): GatewayPublisher | undefined;
  /** A version that targets wait for is there, or its services have moved: those that are delivered by restarts are to be looked at. */
  onVersion(gateway: string): void;
}

/** A version that could not be read is read again after this. Milliseconds. */
const AGAIN_MS = 1_000;

interface OpenVersion {
  fold: GatewayFold | undefined;
  /** Undefined while it is made, and for a gateway that is not delivered live. */
  lane: LiveLane | undefined;
  /** It is being read or made, or that has failed a moment ago. */
  busy: boolean;
}

/**
 * Keeps the versions open that targets should run beside the head, and every target on the lane of its own. A target whose lane is still being made stays
 * at what it runs.
 */
export class RolloutSteering {
  readonly #options: RolloutSteeringOptions;
  readonly #open = new Map<string, Map<number, OpenVersion>>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #closed = false;

  constructor(options: RolloutSteeringOptions) {
    this.#options = options;
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }

  /** The plan of a gateway, or the way it is delivered, is not what it was. To be called before anything is sent for it. */
  steer(gateway: string): void {
    if (this.#closed) return;
    const plan = this.#options.director.plan(gateway);
    const publisher = this.#options.publisher(gateway);
    const open = this.#open.get(gateway) ?? new Map<number, OpenVersion>();
    this.#open.set(gateway, open);
    if (plan === undefined) {
      if (publisher?.isLive === true) publisher.steer(publisher.pending, new Map());
      return;
    }
    const all = [plan.base, ...plan.overrides.values()];
    const wanted = new Set(all.flatMap(({ version }) => (version === 'head' ? [] : [version])));
    for (const version of wanted) this.#want(gateway, version, open);
    if (publisher?.isLive === true) this.#assign(publisher, plan.base, plan.overrides, open);
    for (const [version, { lane }] of open) {
      if (wanted.has(version)) continue;
      open.delete(version);
      if (lane !== undefined) publisher?.closeLane(lane);
      this.#options.versions.close(gateway, version);
    }
  }

  /** What a target that is delivered by restarts should run: a version beside the head; undefined while that is not known or not read. */
  sourceOf(gateway: string, target: string): { readonly source: GatewayFold | 'head'; readonly record: string } | undefined {
    const wanted = this.#options.director.wanted(gateway, target);
    if (wanted === undefined) return undefined;
    const source = wanted.version === 'head' ? 'head' : this.#open.get(gateway)?.get(wanted.version)?.fold;
    return source === undefined ? undefined : { source, record: wanted.record };
  }

  /** What was found for these services of a version is not what it was. */
  found(gateway: string, version: number, services: ReadonlySet<string>): void {
    this.#open.get(gateway)?.get(version)?.lane?.apply({ mappings: [], services, settings: false, secrets: false });
    this.#options.onVersion(gateway);
  }

  #assign(publisher: GatewayPublisher, base: Wanted, overrides: ReadonlyMap<string, Wanted>, open: ReadonlyMap<number, OpenVersion>): void {
    const laneOf = ({ version }: Wanted) => (version === 'head' ? undefined : (open.get(version)?.lane ?? publisher.pending));
    publisher.steer(laneOf(base), new Map([...overrides].map(([target, wanted]) => [target, laneOf(wanted)])));
  }

  #want(gateway: string, version: number, open: Map<number, OpenVersion>): void {
    const entry = open.get(version) ?? { lane: undefined, fold: undefined, busy: false };
    open.set(version, entry);
    const isLive = this.#options.publisher(gateway)?.isLive === true;
    if (entry.busy || (entry.fold !== undefined && (entry.lane !== undefined || !isLive))) return;
    entry.busy = true;
    this.#make(gateway, version, entry, () => open.get(version) === entry).then(
      () => this.#made(gateway, entry),
      (err: unknown) => {
        this.#options.log.error({ err, gateway, version }, 'a version that targets wait for could not be made; it is tried again');
        const timer = setTimeout(() => {
          this.#timers.delete(timer);
          this.#made(gateway, entry);
        }, AGAIN_MS);
        this.#timers.add(timer);
      },
    );
  }

  #made(gateway: string, entry: OpenVersion): void {
    entry.busy = false;
    this.steer(gateway);
  }

  async #make(gateway: string, version: number, entry: OpenVersion, isWanted: () => boolean): Promise<void> {
    const { versions } = this.#options;
    const fold = entry.fold ?? (await versions.open(gateway, version));
    const publisher = this.#options.publisher(gateway);
    const found = () => versions.found(gateway, version);
    const lane = publisher?.isLive === true ? await publisher.openLane(fold, () => this.#recordOf(gateway, version), found) : undefined;
    if (!this.#closed && isWanted()) {
      entry.fold = fold;
      entry.lane = lane;
      this.#options.onVersion(gateway);
      return;
    }
    if (lane !== undefined) publisher?.closeLane(lane);
    if (this.#open.get(gateway)?.has(version) !== true) versions.close(gateway, version);
  }

  #recordOf(gateway: string, version: number): string {
    const plan = this.#options.director.plan(gateway);
    return [...(plan?.overrides.values() ?? []), plan?.base].find((wanted) => wanted?.version === version)?.record ?? '';
  }
}
