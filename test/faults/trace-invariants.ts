import type { HistoryRecord, OperationValue } from './fault-history.js';
import { byNode, type Exchange, exchanges, percentile, said } from './history-view.js';
import type { Finding, Limits } from './invariants.js';

/** I7: what a node applies never goes back: not its fence, and within a lineage not its version, unless the release names what it goes back by. */
export function checkNeverBack(history: readonly HistoryRecord[]): Finding {
  const applied = said(history, 'applied');
  const messages: string[] = [];
  for (const [node, trace] of byNode(applied)) {
    for (let i = 1; i < trace.length; i++) {
      const [before, after] = [trace[i - 1]?.value ?? {}, trace[i]?.value ?? {}];
      const order = compareFences(before, after);
      if (order >= 0) messages.push(`${node} applied ${fenceText(after)} after ${fenceText(before)}`);
      else if (before.fence?.lineage === after.fence?.lineage && (after.version ?? 0) < (before.version ?? 0) && after.namesRevert !== true)
        messages.push(`${node} went from version ${before.version} back to ${after.version}, and names no revert`);
    }
  }
  return { checked: applied.length, messages };
}

function compareFences({ fence: a }: OperationValue, { fence: b }: OperationValue): number {
  if (a === undefined || b === undefined) return 0;
  return a.lineage - b.lineage || a.term - b.term || a.sequence - b.sequence;
}

function fenceText({ fence, version }: OperationValue): string {
  return fence === undefined
    ? `version ${version} without a fence`
    : `(${fence.lineage}, ${fence.term}, ${fence.sequence}) of version ${version}`;
}

/** I8: no request for what nobody changes is lost, except at a node whose Envoy is dead at that moment; and they do not become slow. */
export function checkZeroLoss(history: readonly HistoryRecord[], limits: Limits): Finding {
  const steady = exchanges(history, 'request').filter(({ began }) => began.value.steady === true);
  const dead = exchanges(history, 'envoy');
  const messages = steady.filter((one) => !wasDead(one, dead)).flatMap((one) => lossOf(one));
  return { checked: steady.length, messages: [...messages, ...slowness(steady, history, limits)] };
}

/** Did the request meet an Envoy that was killed and does not serve again yet? */
export function wasDead({ began, ended }: Exchange, dead: readonly Exchange[]): boolean {
  return dead.some(
    (one) =>
      one.began.value.node === began.value.node &&
      (ended?.t_mono ?? Number.POSITIVE_INFINITY) >= one.began.t_mono &&
      began.t_mono <= (one.ended?.t_mono ?? Number.POSITIVE_INFINITY),
  );
}

/** Why a request for what nobody changes did not end well. */
export function lossOf({ began, ended }: Exchange): string[] {
  if (ended?.type === 'ok') return [];
  const how = ended === undefined ? 'has no end' : `ended as ${ended.value.reason ?? ended.value.status ?? ended.type}`;
  return [`the request ${began.cmdId} of ${began.actor} for ${began.value.thing ?? 'something'} on ${began.value.node ?? 'a node'} ${how}`];
}

const ENOUGH = 200;

function slowness(steady: readonly Exchange[], history: readonly HistoryRecord[], limits: Limits): string[] {
  const firstFault = history.find(({ op, type }) => op === 'fault' && type === 'invoke')?.t_mono ?? Number.POSITIVE_INFINITY;
  const times = (some: readonly Exchange[]) =>
    some.flatMap(({ began, ended }) => (ended?.type === 'ok' ? [ended.t_mono - began.t_mono] : []));
  const before = times(steady.filter(({ began }) => began.t_mono < firstFault));
  const under = times(steady.filter(({ began }) => began.t_mono >= firstFault));
  if (before.length < ENOUGH || under.length < ENOUGH) return [];
  const most = Math.max(limits.p99FloorMs, limits.p99Times * percentile(before, 0.99));
  const is = percentile(under, 0.99);
  return is <= most ? [] : [`99 % of the requests took up to ${is.toFixed(1)} ms under faults; ${most.toFixed(1)} ms are allowed`];
}

/** I9: what one request sees is of one version, and an older one is not seen on a node after a newer one, but for a moment. */
export function checkNoMixture(history: readonly HistoryRecord[], limits: Limits): Finding {
  const answered = exchanges(history, 'request').filter(({ ended }) => ended?.type === 'ok' && ended.value.seen !== undefined);
  const messages: string[] = [];
  /** By node and thing: what the highest version's first answer said, and when. */
  const highest = new Map<string, { version: number; since: number }>();
  const byEnd = [...answered].sort((a, b) => (a.ended?.t_mono ?? 0) - (b.ended?.t_mono ?? 0));
  for (const { began, ended } of byEnd) {
    const seen = Object.entries(ended?.value.seen ?? {});
    const versions = new Set(seen.map(([, version]) => version));
    if (versions.size > 1)
      messages.push(`one request on ${began.value.node} saw ${seen.map(([what, version]) => `${what} of ${version}`).join(', ')}`);
    if (began.value.fresh !== true) continue;
    const version = Math.min(...versions);
    const key = `${began.value.node} ${began.value.thing ?? ''}`;
    const known = highest.get(key);
    if (known !== undefined && version < known.version && began.t_mono > known.since + limits.overlapMs)
      messages.push(`${key} answered with ${version}, ${Math.round(began.t_mono - known.since)} ms after ${known.version}`);
    if (known === undefined || version > known.version) highest.set(key, { version, since: ended?.t_mono ?? 0 });
  }
  return { checked: answered.length, messages };
}

/** I15: nothing that was refused, or sent without the scope, is in the log; and the log names nobody who sent nothing. */
export function checkNoAuthorityLeak(history: readonly HistoryRecord[]): Finding {
  const events = said(history, 'event');
  const writes = new Map(exchanges(history, 'write').map((one) => [one.began.cmdId, one]));
  const messages: string[] = [];
  for (const { cmdId, value } of events) {
    if (value.by === 'system') continue; // what the product does by itself: an expiry, a revert of a wave
    const write = writes.get(cmdId);
    if (write === undefined) {
      messages.push(`version ${value.version} by ${value.by} was asked for by nobody`);
      continue;
    }
    const { began, ended } = write;
    if (began.value.scopes?.includes('write') !== true)
      messages.push(`version ${value.version} was sent by ${began.value.by}, without the scope`);
    else if (value.by !== began.value.by)
      messages.push(`version ${value.version} is said to be by ${value.by}, and was by ${began.value.by}`);
    if (ended?.type === 'fail') messages.push(`version ${value.version} was refused (${ended.value.status}), and is in the log`);
  }
  return { checked: events.length, messages };
}

/** I16: every call of the API is answered within its deadline, or the connection says at once that nobody is there; a 503 says when to come back. */
export function checkBoundedWait(history: readonly HistoryRecord[], limits: Limits): Finding {
  const calls = [...exchanges(history, 'write'), ...exchanges(history, 'call')].filter(({ began }) => began.value.deadlineMs !== undefined);
  const messages = calls.flatMap(({ began, ended }) => {
    const deadline = began.value.deadlineMs ?? 0;
    const name = `${began.op} ${began.cmdId} of ${began.actor}`;
    if (ended === undefined || ended.value.reason === 'timeout') return [`${name} was not answered`];
    const took = ended.t_mono - began.t_mono;
    if (took > deadline + limits.slackMs) return [`${name} took ${Math.round(took)} ms; its deadline is ${deadline}`];
    return ended.value.status === 503 && ended.value.retryAfter !== true ? [`${name} was answered 503 without Retry-After`] : [];
  });
  return { checked: calls.length, messages };
}
