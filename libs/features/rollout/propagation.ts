import type { HoldState, Wanted, WaveState } from '#features/promotion/promotion.js';
import { contentHash } from '#platform/kernel/digest.js';
import type { JsonObject } from '#platform/kernel/json.js';

/** What the rows say of one target. */
export interface TargetSight {
  readonly name: string;
  /** envoy: without an agent, so that nothing is ever proven on it. */
  readonly kind: 'agent' | 'envoy';
  readonly away: boolean;
  readonly appliedVersion: number;
  readonly provenVersion: number;
  /** Why nothing may be pushed to it; null when it may. */
  readonly readOnly: string | null;
  /** Failures in a row of one render. */
  readonly failures: number;
  /** Its last push that was not overtaken by a newer one; null when there was none. */
  readonly ended: {
    readonly version: number;
    readonly state: 'proven' | 'failed' | 'refused';
    readonly code: string;
    readonly detail: string;
    readonly ageMs: number;
  } | null;
  /** What caused the push that is under way since then; null when there is none. */
  readonly running: string | null;
  /** What it should run, and why. */
  readonly desired: { readonly version: number; readonly because: Wanted['because']; readonly record: string };
}

/** A mapping that is set aside, with its present state. */
export interface SetAsideSight {
  readonly name: string;
  /** Content hash of the state that was set aside. */
  readonly digest: string;
  readonly code: string;
  readonly reason: string;
  /** The gateway's version that made the present state. */
  readonly fromVersion: number;
  readonly state: JsonObject;
}

/** A certificate that cannot be brought to Envoys as it stands. */
export interface CertificateSight {
  readonly name: string;
  readonly code: string;
  readonly reason: string;
  /** The gateway's version that made it what it is. */
  readonly fromVersion: number;
}

/** A gateway's rollout as it is seen at one moment. */
export interface RolloutSight {
  readonly head: number;
  readonly targets: readonly TargetSight[];
  readonly setAside: readonly SetAsideSight[];
  readonly certificates: readonly CertificateSight[];
  /** How versions come to the targets. */
  readonly strategy: string;
  readonly wave: WaveState | null;
  readonly hold: HoldState | null;
}

interface Reason {
  readonly code: string;
  readonly message: string;
}

export interface TargetPropagation {
  readonly name: string;
  /**
   * live: it has proven exactly this version. superseded: it has proven a newer one, which holds this one's change or what came of it.
   * acked: an Envoy without an agent has acknowledged it, which is all that can be known of it.
   * pending: on its way. in_wave: a wave brings it, or the next one. refused: it will not come by itself. held, frozen: it comes when somebody says so.
   * away, pinned: the target has not been seen for a while, or stays at an older version; nothing waits for it.
   */
  readonly state: 'live' | 'acked' | 'superseded' | 'pending' | 'in_wave' | 'refused' | 'held' | 'frozen' | 'away' | 'pinned';
  readonly desiredVersion: number;
  readonly appliedVersion: number;
  readonly provenVersion: number;
  readonly supersededBy: number | null;
  readonly reason: Reason | null;
  /** The mappings of this version or an older one that are set aside: they answer 503, and the rest goes live. */
  readonly mappings: readonly (Reason & { readonly name: string })[];
  /** The certificates of this version or an older one that targets do not get: they keep the one before, or none. */
  readonly certificates: readonly (Reason & { readonly name: string })[];
}

/** Whether a version is live, on which targets, and what keeps it from the others. */
export interface Propagation {
  readonly version: number;
  /** held: nothing moves before somebody promotes, confirms or unfreezes. no_targets: nothing is enrolled that it could be live on. */
  readonly state: 'live' | 'pending' | 'refused' | 'held' | 'no_targets';
  /** There is nothing left to wait for: every target that is not away or pinned has proven this version or a newer one, or acknowledged it if it cannot prove any. */
  readonly satisfied: boolean;
  readonly targets: readonly TargetPropagation[];
}

/** So long may the search for the mapping take that made Envoy refuse a release; until then the refusal is not the last word. */
const SEARCH_MS = 15_000;

/** What became of a version, from what is seen now. Pure. */
export function propagationOf(sight: RolloutSight, version: number): Propagation {
  const aside = sight.setAside.filter((row) => row.fromVersion <= version && contentHash(row.state) === row.digest);
  const mappings = aside.map(({ name, code, reason }) => ({ name, code, message: reason }));
  const closed = sight.certificates.filter((row) => row.fromVersion <= version);
  const certificates = closed.map(({ name, code, reason }) => ({ name, code, message: reason }));
  const ownFault = faultOf('mapping', aside, version) ?? faultOf('certificate', closed, version);
  const targets = sight.targets.map((target): TargetPropagation => {
    const { state, reason } = judge(target, version, ownFault, sight);
    return {
      name: target.name,
      state,
      desiredVersion: target.desired.version,
      appliedVersion: target.appliedVersion,
      provenVersion: target.provenVersion,
      supersededBy: target.provenVersion > version ? target.provenVersion : null,
      reason,
      mappings,
      certificates,
    };
  });
  const state = stateOf(targets.map((target) => target.state));
  return { version, state, satisfied: targets.length > 0 && (state === 'live' || state === 'no_targets'), targets };
}

/** What of this very version is not served. */
function faultOf(kind: string, rows: readonly (SetAsideSight | CertificateSight)[], version: number): Reason | undefined {
  const row = rows.find(({ fromVersion }) => fromVersion === version);
  return row === undefined ? undefined : { code: row.code, message: `${kind} ${row.name}: ${row.reason}` };
}

function stateOf(states: readonly TargetPropagation['state'][]): Propagation['state'] {
  const counts = states.filter((state) => state !== 'away' && state !== 'pinned');
  const has = (...some: TargetPropagation['state'][]) => counts.some((state) => some.includes(state));
  if (counts.length === 0) return 'no_targets';
  if (has('refused')) return 'refused';
  if (has('held', 'frozen')) return 'held';
  return has('pending', 'in_wave') ? 'pending' : 'live';
}

interface Judgement {
  readonly state: TargetPropagation['state'];
  readonly reason: Reason | null;
}

function judge(target: TargetSight, version: number, ownFault: Reason | undefined, sight: RolloutSight): Judgement {
  if (target.away) return { state: 'away', reason: null };
  if (ownFault) return { state: 'refused', reason: ownFault };
  if (target.kind === 'envoy' && target.appliedVersion >= version) return { state: 'acked', reason: null };
  if (target.provenVersion === version) return { state: 'live', reason: null };
  if (target.provenVersion > version) return { state: 'superseded', reason: null };
  if (target.readOnly !== null) return { state: 'refused', reason: { code: 'target_read_only', message: target.readOnly } };
  if (target.desired.version < version) return keptBack(target, version, sight);
  if (sight.hold?.state === 'held') return { state: 'held', reason: { code: 'push_held', message: lossesOf(sight.hold) } };
  const { ended } = target;
  if (ended === null || ended.state === 'proven' || ended.version < version) return { state: 'pending', reason: null };
  const reason = { code: ended.code, message: ended.detail };
  return { state: mayStillCome(target, ended) ? 'pending' : 'refused', reason };
}

/** Why a target should run an older version. */
function keptBack({ desired }: TargetSight, version: number, { wave, strategy }: RolloutSight): Judgement {
  if (desired.because === 'pinned') return { state: 'pinned', reason: { code: 'target_pinned', message: desired.record } };
  if (desired.because === 'frozen') return { state: 'frozen', reason: { code: 'gateway_frozen', message: desired.record } };
  if (wave?.state === 'halted' && version <= wave.head)
    return {
      state: 'refused',
      reason: { code: 'rollout_halted', message: `The wave of version ${wave.version} was halted: ${wave.cause?.message}.` },
    };
  if (wave?.state === 'advancing' && version <= wave.version) {
    const where = wave.targets === null ? 'every target' : wave.targets.join(', ');
    return {
      state: 'in_wave',
      reason: { code: 'in_wave', message: `Version ${wave.version} is at ${where}; this target is of a later wave.` },
    };
  }
  if (strategy === 'manual')
    return { state: 'held', reason: { code: 'awaits_promotion', message: 'Versions of this gateway go out when somebody promotes them.' } };
  return { state: 'in_wave', reason: { code: 'awaits_wave', message: 'It comes with the next wave.' } };
}

function lossesOf({ id, losses }: HoldState): string {
  const said = losses.map(({ kind, before, lost }) => `${lost} of ${before} ${kind}`).join(', ');
  return `A push would lose ${said} that nobody named; it is held until somebody confirms it (hold ${id}).`;
}

/** A push of something else is under way (a mere retry of what failed changes nothing), or the refused mapping is being looked for. */
function mayStillCome({ running, failures }: TargetSight, ended: NonNullable<TargetSight['ended']>): boolean {
  if (running !== null) return running !== 'retry';
  return ended.code === 'envoy_refused' && failures < 2 && ended.ageMs < SEARCH_MS;
}
