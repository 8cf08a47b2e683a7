import type { RolloutPolicy } from '#features/gateway/rollout-policy.js';

import {
  presentWave,
  type RolloutSwitches,
  releasedVersion,
  type Standing,
  type TrafficCounts,
  type WaveCause,
  type WaveState,
} from './promotion.js';
import { riseOf, sumTraffic, type TrafficSample, trafficBetween } from './traffic.js';
import type { WaveStep } from './wave.js';

/** What is seen of one target at a moment. Times in milliseconds since 1970, of the database's clock. */
export interface TargetSight {
  readonly name: string;
  readonly connected: boolean;
  readonly lastSeenMs: number;
  /** When it was enrolled, or came back after it had been away. */
  readonly presentSinceMs: number;
  readonly provenVersion: number;
  /** Its last push that it refused; null for none. */
  readonly refused: { readonly version: number; readonly atMs: number; readonly message: string } | null;
  readonly traffic: readonly TrafficSample[];
}

/** A mapping that Envoy refused, and since which version of the gateway it is what it is. */
export interface AsideSight {
  readonly mapping: string;
  readonly fromVersion: number;
  readonly reason: string;
}

export interface WaveSight {
  readonly nowMs: number;
  /** Those that are not retired. */
  readonly targets: readonly TargetSight[];
  readonly aside: readonly AsideSight[];
}

export interface WaveFacts {
  readonly standing: Standing;
  readonly switches: RolloutSwitches;
  readonly policy: RolloutPolicy;
}

/**
 * What is to be recorded next of a gateway's waves; undefined while there is nothing to record. One step at a time: the next is decided on what this one
 * makes of the log. A target that is away is neither chosen nor waited for.
 */
export function nextWaveStep(facts: WaveFacts, sight: WaveSight): WaveStep | undefined {
  const { standing, switches, policy } = facts;
  if (switches.freeze.state !== null || policy.strategy !== 'waves') return undefined;
  const wave = presentWave(standing, switches);
  const free = sight.targets.filter(({ name }) => !switches.pins.has(name)).sort((a, b) => (a.name < b.name ? -1 : 1));
  if (wave.state?.state === 'advancing') return stepOf(wave.state, Date.parse(wave.recordedAt), facts, { ...sight, targets: free });
  const { head } = standing;
  const from = releasedVersion(standing, switches);
  if (head <= from || (wave.state?.state === 'halted' && head <= wave.state.head)) return undefined;
  const here = free.filter(({ connected }) => connected);
  const named = here.filter(({ name }) => policy.canary !== null && isCanary(policy.canary, name));
  const canaries = named.length > 0 ? named : here.slice(0, 1);
  if (canaries.length === 0) return undefined;
  return { kind: 'start', version: head, from, head, targets: namesOf(canaries), baseline: baselineOf(canaries, sight.nowMs) };
}

/** Whether a policy's canary, a name or a pattern, means this target. */
export function isCanary(canary: string, target: string): boolean {
  const pattern = canary
    .split('*')
    .map((part) => part.replace(/[.-]/g, '\\$&'))
    .join('.*');
  return new RegExp(`^${pattern}$`).test(target);
}

function stepOf(state: WaveState, recordedMs: number, facts: WaveFacts, sight: WaveSight): WaveStep | undefined {
  const { policy, standing } = facts;
  const beganMs = state.phaseSince === null ? recordedMs : Date.parse(state.phaseSince);
  const isMember = (target: TargetSight) => state.targets === null || state.targets.includes(target.name);
  // One that was gone before the phase began is away; one that has gone since then has taken the version with it, and owes a proof.
  const members = sight.targets.filter((target) => isMember(target) && (target.connected || target.lastSeenMs >= beganMs));
  const others = sight.targets.filter((target) => !isMember(target) && target.connected);
  const cause = causeToHalt(state, beganMs, members, facts, sight);
  if (cause !== undefined) return { kind: 'halt', cause, head: standing.head };
  if (members.length === 0) return replaceCanary(state, others, sight.nowMs);
  if (state.phaseSince === null) return members.every((target) => target.provenVersion === state.version) ? { kind: 'prove' } : undefined;
  if (sight.nowMs < recordedMs + policy.soakS * 1_000) return undefined;
  if (state.phase === 'all' || others.length === 0) return { kind: 'finish' };
  return advance(state, members, others, policy, sight.nowMs);
}

/** All that had the version are away: nothing is learned from them. Another takes their place; without one the wave waits for whoever comes first. */
function replaceCanary(state: WaveState, [other]: readonly TargetSight[], nowMs: number): WaveStep | undefined {
  if (other === undefined || state.targets === null) return undefined;
  return { kind: 'advance', phase: state.phase, targets: [...state.targets, other.name], baseline: baselineOf([other], nowMs) };
}

function advance(
  state: WaveState,
  members: readonly TargetSight[],
  others: readonly TargetSight[],
  policy: RolloutPolicy,
  nowMs: number,
): WaveStep {
  const wanted = Math.ceil(((members.length + others.length) * policy.sharePercent) / 100) - members.length;
  if (state.phase === 'canary' && wanted > 0 && wanted < others.length) {
    const added = others.slice(0, wanted);
    const targets = [...(state.targets ?? []), ...namesOf(added)];
    return { kind: 'advance', phase: 'share', targets, baseline: baselineOf([...members, ...added], nowMs) };
  }
  return { kind: 'advance', phase: 'all', targets: null, baseline: baselineOf([...members, ...others], nowMs) };
}

function causeToHalt(
  state: WaveState,
  beganMs: number,
  members: readonly TargetSight[],
  { policy }: WaveFacts,
  { nowMs, aside }: WaveSight,
): WaveCause | undefined {
  const { version, from } = state;
  for (const { name, refused } of members) {
    if (refused === null || refused.version !== version || refused.atMs < beganMs) continue;
    return { code: 'refused', target: name, message: `${name} refused version ${version}: ${refused.message}` };
  }
  const bad = aside.find(({ fromVersion }) => fromVersion > from && fromVersion <= version);
  if (bad !== undefined) return { code: 'set_aside', target: null, message: `Envoy refused mapping ${bad.mapping}: ${bad.reason}` };
  const late = members.find(
    ({ provenVersion, presentSinceMs }) =>
      provenVersion !== version && nowMs >= Math.max(beganMs, presentSinceMs) + policy.proofDeadlineS * 1_000,
  );
  if (late !== undefined) {
    const message = `${late.name} has not proven version ${version} within ${policy.proofDeadlineS} s; it is at ${late.provenVersion}`;
    return { code: 'proof_missing', target: late.name, message };
  }
  const now = sumTraffic(members.map(({ traffic }) => trafficBetween(traffic, beganMs, nowMs)));
  const risen = (kind: 'rq5xx' | 'noRoute') => riseOf(kind, now, state.baseline, policy.errorRisePercent);
  const [errors, noRoute] = [risen('rq5xx'), risen('noRoute')];
  if (errors !== undefined) return { code: 'errors_rise', target: null, message: errors };
  return noRoute === undefined ? undefined : { code: 'no_route_rise', target: null, message: noRoute };
}

/** What these targets answered in the time that their samples reach back. */
function baselineOf(targets: readonly TargetSight[], nowMs: number): TrafficCounts {
  return sumTraffic(targets.map(({ traffic }) => trafficBetween(traffic, Number.NEGATIVE_INFINITY, nowMs)));
}

function namesOf(targets: readonly TargetSight[]): string[] {
  return targets.map(({ name }) => name);
}
