import type { SubjectRecord } from '#platform/eventstore/event-store.js';
import type { JsonObject } from '#platform/kernel/json.js';

/**
 * Which version of a gateway each of its targets should run. It follows from three things in the log and from nothing else: the settings (their
 * strategy, and since when it is that), the head, and the stream `rollout/<gateway>`. What is observed of the targets never moves a target by itself: it
 * leads to an event, and the event moves it. So every worker, whenever it starts, comes to the same answer.
 *
 *   a pin         the target runs the pinned version, whatever the others do
 *   a freeze      every target runs what it should run when the gateway was frozen
 *   immediate     every target runs the head
 *   otherwise     the released version, and in a wave that is under way its targets run the wave's
 */
export interface DesiredPlan {
  /** What a target runs that is not named below. */
  readonly base: Wanted;
  /** By target. */
  readonly overrides: ReadonlyMap<string, Wanted>;
}

export interface Wanted {
  readonly version: number | 'head';
  readonly because: 'immediate' | 'released' | 'frozen' | 'wave' | 'pinned';
  /** The record that says so: what allows a release to carry a lower version than the one that a target runs. */
  readonly record: string;
}

/** The step by step way of one version to all targets: the subject `wave`. */
export interface WaveState extends JsonObject {
  readonly version: number;
  /** What its targets ran before, and go back to when it is halted. */
  readonly from: number;
  /** resumed: it was halted, and the next may begin. */
  readonly state: 'advancing' | 'halted' | 'resumed' | 'finished';
  readonly phase: 'canary' | 'share' | 'all';
  /** The targets that run it by now, by name; null: every target. */
  readonly targets: readonly string[] | null;
  /** When its present phase began, once that is proven: from the record of that on it is watched. Null before. ISO 8601. */
  readonly phaseSince: string | null;
  /** The gateway's head when this was recorded: what comes after a halted wave begins a new one by itself. */
  readonly head: number;
  /** What the targets of the phase answered before it began. */
  readonly baseline: TrafficCounts;
  readonly cause: WaveCause | null;
  readonly by: string;
  readonly reason: string | null;
}

/** Why a wave was halted. */
export interface WaveCause extends JsonObject {
  readonly code: 'refused' | 'set_aside' | 'proof_missing' | 'errors_rise' | 'no_route_rise' | 'by_hand';
  readonly target: string | null;
  readonly message: string;
}

/** Answers of some targets over some time. */
export interface TrafficCounts extends JsonObject {
  readonly requests: number;
  readonly rq5xx: number;
  /** No route matched the request: the 404 of Envoy itself. */
  readonly noRoute: number;
}

/** The subject `freeze`. */
export interface FreezeState extends JsonObject {
  /** What was released when it was frozen. */
  readonly version: number;
  readonly by: string;
  readonly reason: string;
}

/** The subject `pin/<target>`. */
export interface PinState extends JsonObject {
  readonly target: string;
  readonly version: number;
  readonly by: string;
  readonly reason: string;
}

/** The subject `hold`: a push that would lose too much, and whether somebody has said that it may. */
export interface HoldState extends JsonObject {
  /** Names exactly this loss: another one has another id, and is not confirmed with it. */
  readonly id: string;
  /** The version that would be pushed. */
  readonly version: number;
  readonly state: 'held' | 'confirmed';
  readonly limitPercent: number;
  readonly losses: readonly HeldLoss[];
  readonly by: string;
  readonly reason: string | null;
}

/** What would be lost of one kind, unnamed. */
export interface HeldLoss extends JsonObject {
  readonly kind: 'routes' | 'hosts' | 'certificates';
  /** How many there are in force. */
  readonly before: number;
  readonly lost: number;
  /** The first of them by name. */
  readonly names: readonly string[];
}

/** A state as the log has it. */
export interface Recorded<S> {
  readonly state: S | null;
  /** The subject's own; 0: there was none ever. */
  readonly version: number;
  readonly streamVersion: number;
  /** ISO 8601; '' for none. */
  readonly recordedAt: string;
}

/** Everything that the stream `rollout/<gateway>` says about what is to be run. */
export interface RolloutSwitches {
  readonly wave: Recorded<WaveState>;
  readonly freeze: Recorded<FreezeState>;
  readonly hold: Recorded<HoldState>;
  /** By target. */
  readonly pins: ReadonlyMap<string, Recorded<PinState>>;
}

/** What the gateway's own stream says of it. */
export interface Standing {
  readonly gateway: string;
  readonly head: number;
  /** The newest version whose settings deploy at once; at least 1, before which there is nothing to stay at. */
  readonly immediateVersion: number;
}

const nothing = { state: null, version: 0, streamVersion: 0, recordedAt: '' };

export function rolloutStreamOf(gateway: string): string {
  return `rollout/${gateway}`;
}

export function pinSubject(target: string): string {
  return `pin/${target}`;
}

/** The switches out of the stream's subjects; others of the stream (confirmations, quarantines) are left alone. */
export function switchesOf(subjects: Iterable<SubjectRecord>): RolloutSwitches {
  const recorded = new Map([...subjects].map((record) => [record.subject, record]));
  const of = <S>(subject: string): Recorded<S> => toRecorded<S>(recorded.get(subject));
  const pins = [...recorded.keys()]
    .filter((subject) => subject.startsWith('pin/'))
    .map((subject) => [subject.slice('pin/'.length), of<PinState>(subject)] as const)
    .filter(([, { state }]) => state !== null);
  return { wave: of('wave'), freeze: of('freeze'), hold: of('hold'), pins: new Map(pins) };
}

function toRecorded<S>(record: SubjectRecord | undefined): Recorded<S> {
  if (record === undefined) return nothing;
  const { version, streamVersion, recordedAt } = record;
  return { state: record.state as S | null, version, streamVersion, recordedAt: recordedAt ?? '' };
}

/** Whether versions go out as soon as they are recorded. */
export function isImmediate({ head, immediateVersion }: Standing): boolean {
  return immediateVersion >= head;
}

/** The wave that counts; a former one that a version which went out at once has overtaken does not. */
export function presentWave(standing: Standing, { wave }: RolloutSwitches): Recorded<WaveState> & { readonly state: WaveState | null } {
  return wave.state !== null && wave.state.version > standing.immediateVersion ? wave : { ...wave, state: null };
}

/** The version that every target may have: what is newer must be brought by a wave or a promotion. A freeze is not looked at. */
export function releasedVersion(standing: Standing, switches: RolloutSwitches): number {
  const { state } = presentWave(standing, switches);
  if (isImmediate(standing)) return standing.head;
  if (state === null) return standing.immediateVersion;
  return state.state === 'finished' ? state.version : state.from;
}

/** See DesiredPlan. */
export function planOf(standing: Standing, switches: RolloutSwitches): DesiredPlan {
  const overrides = new Map<string, Wanted>();
  const { freeze } = switches;
  const wave = freeze.state === null ? presentWave(standing, switches) : switches.wave;
  const released = freeze.state?.version ?? releasedVersion(standing, switches);
  let base: Wanted = {
    version: freeze.state === null && isImmediate(standing) ? 'head' : released,
    because: freeze.state !== null ? 'frozen' : isImmediate(standing) ? 'immediate' : 'released',
    record: recordOf(standing, switches),
  };
  // A freeze keeps the wave that was under way as it was; one that is older than what was frozen says nothing any more.
  const underWay = wave.state?.state === 'advancing' && wave.state.from === released && (freeze.state !== null || !isImmediate(standing));
  if (wave.state !== null && underWay) {
    const { version, targets } = wave.state;
    const wanted: Wanted = { version, because: 'wave', record: base.record };
    if (targets === null) base = wanted;
    for (const target of targets ?? []) overrides.set(target, wanted);
  }
  for (const [target, { state, streamVersion }] of switches.pins) {
    if (state === null) continue;
    const record = named(standing.gateway, streamVersion, `${target} is pinned to version ${state.version}: ${state.reason}`);
    overrides.set(target, { version: state.version, because: 'pinned', record });
  }
  return { base, overrides };
}

/** The record that the targets run what they run for, but for pins. */
function recordOf(standing: Standing, { freeze, wave }: RolloutSwitches): string {
  const { gateway, immediateVersion } = standing;
  if (freeze.state !== null && freeze.streamVersion > wave.streamVersion)
    return named(gateway, freeze.streamVersion, `frozen at version ${freeze.state.version}: ${freeze.state.reason}`);
  // The same for every version of such a gateway: what stands in a row is not written anew with each.
  if (wave.state === null && isImmediate(standing)) return `gateway/${gateway}: its versions go out as soon as they are recorded`;
  if (wave.state === null) return `gateway/${gateway} at version ${immediateVersion}: nothing newer is released`;
  const { version, from, state, cause, reason } = wave.state;
  if (state === 'halted')
    return named(gateway, wave.streamVersion, `the wave of version ${version} was halted, back to ${from}: ${cause?.message ?? ''}`);
  return named(gateway, wave.streamVersion, `version ${version} is ${state}${reason === null ? '' : `: ${reason}`}`);
}

function named(gateway: string, version: number, what: string): string {
  return `${rolloutStreamOf(gateway)} version ${version}: ${what}`;
}

/** What one target should run. */
export function wantedBy(plan: DesiredPlan, target: string): Wanted {
  return plan.overrides.get(target) ?? plan.base;
}
