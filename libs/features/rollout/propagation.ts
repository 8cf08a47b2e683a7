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

/** A gateway's rollout as it is seen at one moment. */
export interface RolloutSight {
  readonly head: number;
  readonly targets: readonly TargetSight[];
  readonly setAside: readonly SetAsideSight[];
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
   * pending: on its way. refused: it will not come by itself. away: the target has not been seen for a while, and nothing waits for it.
   */
  readonly state: 'live' | 'acked' | 'superseded' | 'pending' | 'refused' | 'away';
  readonly desiredVersion: number;
  readonly appliedVersion: number;
  readonly provenVersion: number;
  readonly supersededBy: number | null;
  readonly reason: Reason | null;
  /** The mappings of this version or an older one that are set aside: they answer 503, and the rest goes live. */
  readonly mappings: readonly (Reason & { readonly name: string })[];
}

/** Whether a version is live, on which targets, and what keeps it from the others. */
export interface Propagation {
  readonly version: number;
  /** no_targets: nothing is enrolled that it could be live on. */
  readonly state: 'live' | 'pending' | 'refused' | 'no_targets';
  /** There is nothing left to wait for: every target that is not away has proven this version or a newer one, or has acknowledged it if it cannot prove any. */
  readonly satisfied: boolean;
  readonly targets: readonly TargetPropagation[];
}

/** So long may the search for the mapping take that made Envoy refuse a release; until then the refusal is not the last word. */
const SEARCH_MS = 15_000;

/** What became of a version, from what is seen now. Pure. */
export function propagationOf(sight: RolloutSight, version: number): Propagation {
  const aside = sight.setAside.filter((row) => row.fromVersion <= version && contentHash(row.state) === row.digest);
  const mappings = aside.map(({ name, code, reason }) => ({ name, code, message: reason }));
  const ownFault = aside.find((row) => row.fromVersion === version);
  const targets = sight.targets.map((target): TargetPropagation => {
    const { state, reason } = judge(target, version, ownFault);
    return {
      name: target.name,
      state,
      desiredVersion: sight.head,
      appliedVersion: target.appliedVersion,
      provenVersion: target.provenVersion,
      supersededBy: target.provenVersion > version ? target.provenVersion : null,
      reason,
      mappings,
    };
  });
  const enrolled = targets.filter(({ state }) => state !== 'away');
  const has = (state: TargetPropagation['state']) => enrolled.some((target) => target.state === state);
  const state = enrolled.length === 0 ? 'no_targets' : has('refused') ? 'refused' : has('pending') ? 'pending' : 'live';
  return { version, state, satisfied: targets.length > 0 && !has('refused') && !has('pending'), targets };
}

function judge(
  target: TargetSight,
  version: number,
  ownFault: SetAsideSight | undefined,
): { readonly state: TargetPropagation['state']; readonly reason: Reason | null } {
  if (target.away) return { state: 'away', reason: null };
  if (ownFault) return { state: 'refused', reason: { code: ownFault.code, message: `mapping ${ownFault.name}: ${ownFault.reason}` } };
  if (target.kind === 'envoy') return { state: target.appliedVersion >= version ? 'acked' : 'pending', reason: null };
  if (target.provenVersion === version) return { state: 'live', reason: null };
  if (target.provenVersion > version) return { state: 'superseded', reason: null };
  if (target.readOnly !== null) return { state: 'refused', reason: { code: 'target_read_only', message: target.readOnly } };
  const { ended } = target;
  if (ended === null || ended.state === 'proven' || ended.version < version) return { state: 'pending', reason: null };
  const reason = { code: ended.code, message: ended.detail };
  return { state: mayStillCome(target, ended) ? 'pending' : 'refused', reason };
}

/** A push of something else is under way (a mere retry of what failed changes nothing), or the refused mapping is being looked for. */
function mayStillCome({ running, failures }: TargetSight, ended: NonNullable<TargetSight['ended']>): boolean {
  if (running !== null) return running !== 'retry';
  return ended.code === 'envoy_refused' && failures < 2 && ended.ageMs < SEARCH_MS;
}
