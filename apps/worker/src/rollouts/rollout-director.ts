import { setImmediate as nextTurn } from 'node:timers/promises';

import type { GatewaySettings } from '#features/gateway/gateway.js';
import type { RolloutPolicy } from '#features/gateway/rollout-policy.js';
import { writeDesired } from '#features/promotion/desired.table.js';
import {
  type DesiredPlan,
  type HoldState,
  planOf,
  presentWave,
  type Recorded,
  type RolloutSwitches,
  releasedVersion,
  rolloutStreamOf,
  type Standing,
  switchesOf,
  type Wanted,
  wantedBy,
} from '#features/promotion/promotion.js';
import { readStanding } from '#features/promotion/standing.table.js';
import { readSwitches } from '#features/promotion/switches.table.js';
import { takeStep, type WaveStep } from '#features/promotion/wave.js';
import { readWaveSight } from '#features/promotion/wave-sight.table.js';
import { nextWaveStep } from '#features/promotion/wave-step.js';
import type { Database } from '#platform/database/database.js';
import type { EventStore, SubjectRecord } from '#platform/eventstore/event-store.js';
import { type Follower, follow, type LoggedVersion, type Wake } from '#platform/eventstore/follower.js';
import { failpoint } from '#platform/failpoint/failpoint.js';
import { derivedUuid } from '#platform/kernel/digest.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Log } from '#platform/log/log.js';

import { Rounds } from '../rounds.js';

export interface RolloutDirectorOptions {
  readonly database: Database;
  readonly events: EventStore;
  readonly wake: Wake;
  readonly log: Log;
  readonly pollMs: number;
  /** How often waves are looked at. See Rounds. */
  readonly everyMs: number;
  /** A push of the gateway's head is held back here: no wave begins with it. */
  isHeld(gateway: string): boolean;
  /** What some target of the gateway should run, or the push that is held, is not what it was. Called in the moment in which it is known. */
  onChange(gateway: string): void;
}

/** A gateway as the worker has folded it. */
export interface GatewaySight {
  readonly gateway: string;
  readonly version: number;
  readonly immediateVersion: number;
  readonly settings: Pick<GatewaySettings, 'rollout'>;
}

interface Directed {
  sight: GatewaySight | undefined;
  readonly subjects: Map<string, SubjectRecord>;
  /** The version of rollout/<gateway> that the subjects are of; undefined while they were not read. */
  followed: number | undefined;
  switches: RolloutSwitches;
  plan: DesiredPlan | undefined;
  /** The plan as text, with the hold, to see changes; and as its row has it. */
  key: string;
  written: string;
}

/**
 * Which version of its gateway each target should run, as the log says, and the workers' part in what the log says: each round it looks at the waves, and
 * records what comes next. Any number of workers do; whoever is first has recorded it, and the others find that out from the log.
 */
export class RolloutDirector {
  readonly #options: RolloutDirectorOptions;
  readonly #gateways = new Map<string, Directed>();
  readonly #rounds: Rounds;
  #follower: Follower | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: RolloutDirectorOptions) {
    this.#options = options;
    this.#rounds = new Rounds({
      everyMs: options.everyMs,
      round: () => this.#look(),
      onError: (err) => options.log.warn({ err }, 'waves could not be looked at; the next round begins anew'),
    });
  }

  start(): void {
    const { database, wake, log, pollMs } = this.#options;
    this.#follower = follow({
      database,
      streams: 'rollout/%',
      wake,
      pollMs,
      log,
      start: (stream) => this.#read(gatewayOf(stream)),
      apply: async ({ stream, versions }) => this.#apply(gatewayOf(stream), versions),
      onError: (err, stream) => log.error({ err, stream }, 'a switch of a rollout could not be followed; it is tried again'),
    });
    this.#rounds.start();
  }

  async close(): Promise<void> {
    await this.#rounds.close();
    await this.#follower?.close();
    await this.#writing;
  }

  /** A gateway was read; resolves when what its targets should run is known. @returns since which version they deploy at once, as far as this version */
  async loaded(gateway: string, version: number, settings: Pick<GatewaySettings, 'rollout'>): Promise<number> {
    const standing = await readStanding(this.#options.database.db, gateway, version);
    if (this.#of(gateway).followed === undefined) await this.#read(gateway);
    const immediateVersion = standing?.immediateVersion ?? 1;
    this.applied({ gateway, version, immediateVersion, settings });
    return immediateVersion;
  }

  /** The gateway is at another version. To be called before anything is sent for it. */
  applied(sight: GatewaySight): void {
    const directed = this.#of(sight.gateway);
    directed.sight = sight;
    this.#plan(sight.gateway, directed);
  }

  /** What a target should run; undefined for a moment in which that is not known: then it stays at what it runs. */
  wanted(gateway: string, target: string): Wanted | undefined {
    const plan = this.#gateways.get(gateway)?.plan;
    return plan === undefined ? undefined : wantedBy(plan, target);
  }

  /** What all targets of a gateway should run. */
  plan(gateway: string): DesiredPlan | undefined {
    return this.#gateways.get(gateway)?.plan;
  }

  /** The push that is held, or was confirmed. */
  hold(gateway: string): Pick<Recorded<HoldState>, 'state' | 'version'> {
    return this.#gateways.get(gateway)?.switches.hold ?? { state: null, version: 0 };
  }

  #of(gateway: string): Directed {
    let directed = this.#gateways.get(gateway);
    if (directed === undefined) {
      directed = {
        sight: undefined,
        subjects: new Map(),
        followed: undefined,
        switches: switchesOf([]),
        plan: undefined,
        key: '',
        written: '',
      };
      this.#gateways.set(gateway, directed);
    }
    return directed;
  }

  async #read(gateway: string): Promise<number> {
    const { version, subjects } = await readSwitches(this.#options.database.db, gateway);
    const directed = this.#of(gateway);
    if (directed.followed !== undefined && directed.followed > version) return directed.followed;
    directed.subjects.clear();
    for (const record of subjects) directed.subjects.set(record.subject, record);
    directed.followed = version;
    this.#plan(gateway, directed);
    return version;
  }

  #apply(gateway: string, versions: readonly LoggedVersion[]): void {
    const directed = this.#of(gateway);
    for (const { version, recordedAt, events } of versions) {
      if (directed.followed !== undefined && version <= directed.followed) continue; // brought again, or read when it was loaded
      for (const { subject, subjectVersion, schemaVersion, state } of events) {
        if (!isSwitch(subject)) continue;
        directed.subjects.set(subject, { subject, version: subjectVersion, streamVersion: version, schemaVersion, state, recordedAt });
      }
      directed.followed = version;
    }
    this.#plan(gateway, directed);
  }

  #plan(gateway: string, directed: Directed): void {
    const { sight, followed } = directed;
    if (sight === undefined || followed === undefined) return;
    const switches = switchesOf(directed.subjects.values());
    const standing = standingOf(sight);
    // Nothing orders the two streams: what is said of a version that has not been folded yet is taken up when it is.
    if (newestNamed(switches) > standing.head) return;
    directed.switches = switches;
    directed.plan = planOf(standing, switches);
    const key = JSON.stringify([directed.plan.base, [...directed.plan.overrides], switches.hold.state]);
    if (key !== directed.key) {
      directed.key = key;
      this.#options.onChange(gateway);
    }
    this.#write(gateway, directed);
  }

  /** Behind what is sent, one write at a time; what could not be written is written by the next round. */
  #write(gateway: string, directed: Directed): void {
    const { plan, sight, followed, switches } = directed;
    if (plan === undefined || sight === undefined || followed === undefined) return;
    const standing = standingOf(sight);
    const { strategy } = sight.settings.rollout;
    const wave = presentWave(standing, switches).state;
    const row = { gateway, plan, wave, hold: switches.hold.state, strategy };
    const text = JSON.stringify([directed.key, wave, strategy]);
    if (directed.written === text) return;
    const before = directed.written;
    directed.written = text;
    this.#writing = this.#writing.then(async () => {
      await nextTurn(); // what an Envoy waits for goes first
      try {
        if (await writeDesired(this.#options.database.db, { ...row, followed, head: standing.head })) return;
      } catch (err) {
        this.#options.log.warn({ err, gateway }, 'what the targets should run could not be written; the next round writes it');
      }
      if (directed.written === text) directed.written = before;
    });
  }

  async #look(): Promise<void> {
    for (const [gateway, directed] of this.#gateways) {
      if (this.#rounds.closed) return;
      this.#write(gateway, directed);
      const { sight, plan, switches } = directed;
      if (sight === undefined || plan === undefined || !isToBeLookedAt(sight, switches)) continue;
      try {
        await this.#lookAt(sight, switches);
      } catch (err) {
        this.#options.log.warn({ err, gateway }, 'the waves of a gateway could not be looked at; the next round does it');
      }
    }
  }

  async #lookAt(sight: GatewaySight, switches: RolloutSwitches): Promise<void> {
    const { database, log } = this.#options;
    const standing = standingOf(sight);
    const seen = await readWaveSight(database.db, sight.gateway, releasedVersion(standing, switches));
    const step = nextWaveStep({ standing, switches, policy: sight.settings.rollout }, seen);
    if (step === undefined || (step.kind === 'start' && this.#options.isHeld(sight.gateway))) return;
    failpoint('worker.beforeWaveStep');
    const recorded = await this.#record(sight.gateway, step, switches.wave.version);
    if (recorded) log.info({ gateway: sight.gateway, step }, 'a wave goes on');
  }

  async #record(gateway: string, step: WaveStep, of: number): Promise<boolean> {
    const commandId = derivedUuid(`wave\n${gateway}\n${of}\n${step.kind}`);
    const reason = step.kind === 'halt' ? step.cause.message.slice(0, 1_000) : null;
    const context = { commandId, action: waveActions[step.kind], actor: 'system', reason };
    try {
      const outcome = await this.#options.events.handle(
        { stream: rolloutStreamOf(gateway), subjects: ['wave', 'freeze'], context },
        takeStep(step, of),
      );
      return !outcome.unchanged;
    } catch (err) {
      if (err instanceof DomainError && err.code === 'contended') return false; // others are at it
      throw err;
    }
  }
}

const waveActions = { start: 'StartWave', prove: 'ProveWave', advance: 'AdvanceWave', finish: 'FinishWave', halt: 'HaltWave' } as const;

function standingOf({ gateway, version, immediateVersion }: GatewaySight): Standing {
  return { gateway, head: version, immediateVersion };
}

function isSwitch(subject: string): boolean {
  return subject === 'wave' || subject === 'freeze' || subject === 'hold' || subject.startsWith('pin/');
}

/** The newest version that the switches speak of. */
function newestNamed({ wave, freeze, pins }: RolloutSwitches): number {
  const pinned = [...pins.values()].map(({ state }) => state?.version ?? 0);
  return Math.max(wave.state?.version ?? 0, freeze.state?.version ?? 0, ...pinned);
}

/** Most gateways have nothing to look for: then no row is read. */
function isToBeLookedAt(sight: GatewaySight, switches: RolloutSwitches): boolean {
  const policy: RolloutPolicy = sight.settings.rollout;
  if (policy.strategy !== 'waves' || switches.freeze.state !== null) return false;
  const standing = standingOf(sight);
  return presentWave(standing, switches).state?.state === 'advancing' || standing.head > releasedVersion(standing, switches);
}

function gatewayOf(stream: string): string {
  return stream.slice('rollout/'.length);
}
