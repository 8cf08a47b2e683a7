import { setImmediate as nextTurn } from 'node:timers/promises';

import type { Found } from '#features/discovery/discovery.js';
import type { HoldState } from '#features/promotion/promotion.js';
import type { Shrink } from '#features/promotion/shrink.js';
import { reserveSequences } from '#features/rollout/live-push.table.js';
import { readStatusRows } from '#features/rollout/set-aside.table.js';
import type { Db } from '#platform/database/database.js';
import { eachInTurns } from '#platform/kernel/turns.js';
import type { Log } from '#platform/log/log.js';
import type { LiveAnswer } from '#platform/xds/live-stream.js';
import type { FoldChange, GatewayFold } from '../fold/gateway-fold.js';
import type { LaneSource } from '../fold/lane-source.js';
import type { SecretSource } from '../secrets/lane-secrets.js';
import { MappingStatuses } from '../statuses/mapping-statuses.js';
import { SetAsides } from '../statuses/set-asides.js';
import type { TargetSession } from '../targets/target-session.js';
import { BLOCK_SIZE, FenceBlock } from './fence-block.js';
import { headGuard } from './head-guard.js';
import { LiveLane } from './live-lane.js';
import { LiveSession, type SentRelease } from './live-session.js';
import type { ShrinkGuard } from './shrink-guard.js';

export interface PublisherOptions {
  readonly db: Db;
  readonly log: Log;
  readonly fold: GatewayFold;
  /** The targets of this gateway that are connected to this worker. */
  targets(): readonly TargetSession[];
  found(): ReadonlyMap<string, Found>;
  allowsLoopback(source: LaneSource): boolean;
  readonly secrets: SecretSource;
  onAnswer(live: LiveSession, release: SentRelease, answer: LiveAnswer): void;
  onUnchanged(live: LiveSession): void;
  /** The push that is held back by the log's account, or may go out. */
  hold(): HoldState | null;
  /** What the push of the head would lose that is held back; undefined when none is any more. */
  onVerdict(shrink: Shrink | undefined): void;
  /** A lane has changed, or who is on it: somebody else than an agent follows them as well. Called after the agents were written to. */
  onLane(): void;
}

/** Before a lane that failed is made anew. Milliseconds. */
const AGAIN_MS = 1_000;

/**
 * One gateway as it is delivered live: its lanes (the gateway at its head, and at versions that some targets stay at) and the targets on each. A change
 * is with every target that can take it when `apply` returns: no queue, no database and no timer stand between.
 */
export class GatewayPublisher {
  readonly asides = new SetAsides();
  readonly #options: PublisherOptions;
  readonly #sessions = new Map<TargetSession, LiveSession>();
  /** Targets that are not on the head, whether they are here or not. */
  #assigned: ReadonlyMap<string, LiveLane | undefined> = new Map();
  /** The lane of all others; undefined is the head. */
  #base: LiveLane | undefined;
  #guard: ShrinkGuard | undefined;
  #pending: LiveLane | undefined;
  readonly #lanes = new Set<LiveLane>();
  readonly #statuses: MappingStatuses;
  #head: LiveLane | undefined;
  #opening: Promise<void> | undefined;
  #again: NodeJS.Timeout | undefined;
  #taking: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: PublisherOptions) {
    const { db, log, fold } = options;
    this.#options = options;
    this.#statuses = new MappingStatuses({
      db,
      log,
      gateway: fold.gateway,
      mappings: fold.mappings,
      asides: this.asides,
      lane: () => this.#head,
      found: () => options.found(),
    });
  }

  get gateway(): string {
    return this.#options.fold.gateway;
  }

  /** Does the gateway want its targets to be delivered live? */
  get isLive(): boolean {
    return this.#options.fold.settings.delivery === 'live';
  }

  /** The gateway at its head; undefined while it is made, and for a gateway that is not delivered live. */
  get head(): LiveLane | undefined {
    return this.#head;
  }

  sessions(): LiveSession[] {
    return [...this.#sessions.values()];
  }

  sessionOf(session: TargetSession): LiveSession | undefined {
    return this.#sessions.get(session);
  }

  /** Makes the head when the gateway is delivered live; resolves when targets can be written to. */
  async start(): Promise<void> {
    if (this.isLive) await this.#openHead();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#again);
    for (const lane of this.#lanes) lane.close();
    await this.#opening;
    await this.#guard?.close();
    await this.#statuses.settled();
  }

  /** A target has connected. It is written to when it has asked for live releases. */
  attach(session: TargetSession): void {
    if (this.#sessions.has(session) || this.#head === undefined) return;
    const { db, log, onAnswer, onUnchanged } = this.#options;
    const fences = new FenceBlock({
      reserve: () => nextTurn().then(() => reserveSequences(db, session.owner, BLOCK_SIZE)), // behind the release that it is asked for with
      onReserved: () => live.update(),
      onError: (err) => log.warn({ err, target: session.target }, 'no places in the fence could be reserved; the next look asks again'),
    });
    const lane = this.laneOf(session.target) ?? this.#head;
    const live: LiveSession = new LiveSession({ session, lane, fences, onAnswer, onUnchanged });
    this.#sessions.set(session, live);
    if (!session.readOnly) fences.ask();
  }

  detach(session: TargetSession): void {
    this.#sessions.delete(session);
  }

  /** The gateway, or what was found for these services, is not what it was. */
  apply(change: FoldChange, services: ReadonlySet<string>): void {
    if (!this.isLive) {
      if (this.#head !== undefined) this.#closeHead();
      return;
    }
    if (this.#head === undefined) {
      void this.#openHead();
      return;
    }
    this.#guard?.order(change);
    const { mappings, settings, certificates, principals } = change;
    const all = { mappings: mappings.keys(), services, settings, secrets: certificates.size > 0 || principals };
    this.#guarded(this.#head, () => this.#head?.apply(all));
    this.#statuses.touch();
  }

  /** Reads what is set aside, by this worker or another, and brings it to the targets. */
  takeAsides(): Promise<void> {
    // One reading after the other: an older one that came late would bring back what is set aside.
    const taking = this.#taking.then(async () => {
      const names = this.asides.take(await readStatusRows(this.#options.db, this.gateway));
      if (names.length === 0) return;
      for (const lane of this.#lanes)
        this.#guarded(lane, () => lane.apply({ mappings: names, services: [], settings: false, secrets: false }));
    });
    this.#taking = taking.catch(() => undefined); // told to whoever asked
    return taking;
  }

  /** What is known of secrets has changed. */
  takeSecrets(): void {
    for (const lane of this.#lanes) this.#guarded(lane, () => lane.apply({ mappings: [], services: [], settings: false, secrets: true }));
  }

  /** The configurations that targets are brought to. */
  readonly sources = (): readonly LaneSource[] => [...this.#lanes].map(({ source }) => source);

  /** Another lane, for targets that stay at a version or come to it before others. Close it when no target is on it any more. */
  async openLane(source: LaneSource, lowerVersionReason: () => string, found: () => ReadonlyMap<string, Found>): Promise<LiveLane> {
    const lane = this.#lane(source, lowerVersionReason, found);
    await lane.build();
    return lane;
  }

  closeLane(lane: LiveLane): void {
    lane.close();
    this.#lanes.delete(lane);
  }

  /** A lane that brings nothing: targets on it stay at what they run. */
  get pending(): LiveLane {
    const { gateway, settings } = this.#options.fold;
    const nothing = { mappings: new Map(), certificates: new Map(), principals: new Map() };
    this.#pending ??= this.#lane({ gateway, version: 0, seenAtMs: 0, settings, ...nothing }, () => '', this.#options.found);
    return this.#pending;
  }

  /** Brings targets to lanes, now and whenever they connect: all to `base` but those that are named. Undefined is the head. */
  steer(base: LiveLane | undefined, named: ReadonlyMap<string, LiveLane | undefined>): void {
    this.#base = base;
    this.#assigned = named;
    for (const live of this.#sessions.values()) {
      const lane = this.laneOf(live.session.target);
      if (lane !== undefined) live.assign(lane);
    }
    this.#head?.recheck();
    this.#options.onLane();
  }

  /** A push of the head is held back: it would lose too much. */
  get holds(): boolean {
    return this.#guard?.holds === true;
  }

  /** The lane of a target, whether it is here or not; undefined while it is not known. */
  laneOf(target: string): LiveLane | undefined {
    return this.#steered(target) ?? this.#head;
  }

  #steered(target: string): LiveLane | undefined {
    return this.#assigned.has(target) ? this.#assigned.get(target) : this.#base;
  }

  #lane(source: LaneSource, lowerVersionReason: () => string, found: () => ReadonlyMap<string, Found>, guard?: ShrinkGuard): LiveLane {
    const { allowsLoopback, log, secrets } = this.#options;
    const lane: LiveLane = new LiveLane({
      source,
      lowerVersionReason,
      guard,
      endpointsOf: (key) => found().get(key)?.endpoints ?? [],
      allowsLoopback: () => allowsLoopback(source),
      secrets,
      asideOf: (name, mapping) => this.asides.asideOf(name, mapping),
      onChange: () => this.#publish(lane),
      onError: (err) => this.#failed(lane, err),
    });
    this.#lanes.add(lane);
    log.debug({ gateway: this.gateway, version: source.version }, 'a lane is opened');
    return lane;
  }

  #openHead(): Promise<void> {
    this.#opening ??= this.#makeHead()
      .catch((err: unknown) => this.#failed(undefined, err))
      .finally(() => {
        this.#opening = undefined;
      });
    return this.#opening;
  }

  async #makeHead(): Promise<void> {
    const { db, fold } = this.#options;
    this.asides.take(await readStatusRows(db, this.gateway));
    if (this.#closed || !this.isLive) return;
    const guard = this.#guard ?? headGuard({ ...this.#options, asides: this.asides, head: () => this.#head });
    if (this.#guard === undefined) await guard.load();
    this.#guard = guard;
    const lane = this.#lane(fold, () => '', this.#options.found, guard);
    this.#head = lane; // from here on it hears of changes, and takes them when it is made
    for (const live of this.#sessions.values()) if (this.laneOf(live.session.target) === lane) live.assign(lane);
    for (const session of this.#options.targets()) this.attach(session);
    await lane.build();
    this.#statuses.touch();
  }

  #closeHead(): void {
    this.#dropHead();
    this.#sessions.clear();
  }

  #dropHead(): void {
    const head = this.#head;
    this.#head = undefined;
    if (head === undefined) return;
    head.close();
    this.#lanes.delete(head);
  }

  #guarded(lane: LiveLane, work: () => void): void {
    try {
      work();
    } catch (err) {
      this.#failed(lane, err);
    }
  }

  /** A defect in one lane: what it served stays served, and it is made anew from the fold. */
  #failed(lane: LiveLane | undefined, err: unknown): void {
    this.#options.log.error({ err, gateway: this.gateway }, 'the configuration of a gateway could not be made; it is tried again');
    if (lane !== undefined && lane !== this.#head) return;
    if (lane !== undefined) this.#dropHead();
    clearTimeout(this.#again);
    if (!this.#closed) this.#again = setTimeout(() => void this.#openHead(), AGAIN_MS);
  }

  #publish(lane: LiveLane): void {
    eachInTurns([...this.#sessions.values()], (live) => {
      if (live.lane === lane) live.update();
    }).catch((err: unknown) => this.#failed(lane, err));
    this.#options.onLane();
  }
}
