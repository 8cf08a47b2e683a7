/**
 * What to do next for one target, decided from rows and the newest render alone: no I/O, no clock, no memory of what was done before.
 *
 *   nothing   the target has proven what is newest (or nothing may be pushed to it)
 *   wait      there is something to push, but the agent cannot take it now: look again when its status changes
 *   hold      the same render failed a moment ago: not again before `untilMs`
 *   push      send the newest
 */
export type NextStep =
  | { readonly kind: 'nothing'; readonly because: 'read_only' | 'equal' }
  | { readonly kind: 'wait' }
  | { readonly kind: 'hold'; readonly untilMs: number }
  | { readonly kind: 'push'; readonly trigger: Trigger; readonly force: boolean };

/** What caused a push. */
export type Trigger = 'change' | 'endpoints' | 'redeployment' | 'retry' | 'drift';

export interface TargetFacts {
  /** Why nothing may be pushed; null when it may. */
  readonly readOnly: string | null;
  readonly provenVersion: number;
  readonly provenRender: string;
  readonly provenEndpoints: string;
  /** Failures in a row of `failedRender`. */
  readonly failures: number;
  readonly failedRender: string;
  readonly failedAtMs: number;
}

/** What the agent says of itself. */
export interface AgentFacts {
  readonly state: string;
  /** The render that its Envoy runs. */
  readonly appliedRender: string;
  /** It holds a release that waits for the window to end; a newer one takes its place. */
  readonly pending: boolean;
}

export interface NewestRender {
  readonly version: number;
  readonly renderSha256: string;
  /** Content hash over the endpoint files that go with it. */
  readonly endpointsSha256: string;
}

export interface Demand {
  /** A redeployment waits for this target. */
  readonly redeployment: boolean;
  /** One of those wants a restart at once. */
  readonly force: boolean;
  /** This look is itself a retry after back-off, so that the row's own holding time does not apply. */
  readonly retry: boolean;
}

const firstHoldMs = 1_000;
const longestHoldMs = 60_000;

/** How long the same render stays away from a target after so many failures in a row. */
export function holdMs(failures: number): number {
  return failures <= 0 ? 0 : Math.min(longestHoldMs, firstHoldMs * 2 ** Math.min(10, failures - 1));
}

export function nextStep(target: TargetFacts, agent: AgentFacts, newest: NewestRender, demand: Demand, nowMs: number): NextStep {
  if (target.readOnly !== null) return { kind: 'nothing', because: 'read_only' };
  const sameRender = target.provenRender === newest.renderSha256 && agent.appliedRender === newest.renderSha256;
  const equal = sameRender && target.provenEndpoints === newest.endpointsSha256;
  if (equal && !demand.redeployment) return { kind: 'nothing', because: 'equal' };
  const failedBefore = target.failures > 0 && target.failedRender === newest.renderSha256;
  if (failedBefore && !demand.retry && !demand.redeployment) {
    const untilMs = target.failedAtMs + holdMs(target.failures);
    if (nowMs < untilMs) return { kind: 'hold', untilMs };
  }
  if (!canTake(agent, sameRender, demand.force)) return { kind: 'wait' };
  return { kind: 'push', trigger: triggerOf(target, newest, { sameRender, failedBefore, demand }), force: demand.force };
}

/**
 * A restart waits for the drain of the one before; endpoint files do not need one, a forced redeployment cuts it, and what waits
 * at the agent for the drain may be replaced meanwhile.
 */
function canTake(agent: AgentFacts, sameRender: boolean, force: boolean): boolean {
  if (agent.state === 'idle' || agent.state === 'starting') return true; // starting: no Envoy yet, and the first release is what it waits for
  return agent.state === 'draining' && (sameRender || force || agent.pending);
}

function triggerOf(
  target: TargetFacts,
  newest: NewestRender,
  facts: { sameRender: boolean; failedBefore: boolean; demand: Demand },
): Trigger {
  if (facts.demand.redeployment) return 'redeployment';
  if (facts.failedBefore) return 'retry';
  if (facts.sameRender) return 'endpoints';
  return target.provenVersion === newest.version ? 'drift' : 'change';
}

/** The fence of a release, or of the newest one that a target accepted. */
export interface FencePosition {
  readonly lineage: number;
  readonly lineageId: string;
  readonly term: number;
  readonly sequence: number;
}

/**
 * Why this target must not be written to, or null. An agent that has accepted more than this database ever sent knows a
 * future that the database has lost: after a restore, nobody but an operator can say which of the two is right.
 *
 * @param accepted the newest release that the agent accepted; null when it never had one
 * @param sent what this database last sent to it
 */
export function readOnlyReason(accepted: FencePosition | null, appliedVersion: number, sent: FencePosition, head: number): string | null {
  if (accepted === null || accepted.lineage < sent.lineage) return null;
  if (accepted.lineage > sent.lineage) return `the target is in lineage ${accepted.lineage}, this database in ${sent.lineage}`;
  if (accepted.lineageId !== sent.lineageId)
    return `the target follows another database of the same lineage number (${accepted.lineageId})`;
  if (accepted.term > sent.term || (accepted.term === sent.term && accepted.sequence > sent.sequence)) {
    return `the target accepted release ${releaseId(accepted)}, this database only knows ${releaseId(sent)}`;
  }
  if (appliedVersion > head) return `the target runs version ${appliedVersion}, the log ends at ${head}`;
  return null;
}

/** `<lineage>.<term>.<sequence>` */
export function releaseId(fence: FencePosition): string {
  return `${fence.lineage}.${fence.term}.${fence.sequence}`;
}

/** Reads a release id; undefined for a text that is none. */
export function parseReleaseId(id: string): { lineage: number; term: number; sequence: number } | undefined {
  const match = /^(\d{1,15})\.(\d{1,15})\.(\d{1,15})$/.exec(id);
  return match === null ? undefined : { lineage: Number(match[1]), term: Number(match[2]), sequence: Number(match[3]) };
}

export type FinalState = 'proven' | 'failed' | 'superseded' | 'refused';

/** What a step that an agent reported makes of its deployment; undefined while it is under way. */
export function finalState(step: string): FinalState | undefined {
  return step === 'proven' || step === 'failed' || step === 'superseded' || step === 'refused' ? step : undefined;
}
