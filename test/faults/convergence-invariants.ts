import type { HistoryRecord } from './fault-history.js';
import { byNode, type Exchange, exchanges, livingNodes, said } from './history-view.js';
import type { Finding, Limits } from './invariants.js';
import { lossOf, wasDead } from './trace-invariants.js';

/** I6: when the last fault is over, every node says by its own mouth, in time, that it is on the newest version; and stays there. */
export function checkConvergence(history: readonly HistoryRecord[], limits: Limits): Finding {
  const newest = newestAccepted(history);
  if (newest === undefined) return { checked: 0, messages: [] };
  const { version, at } = newest;
  const since = Math.max(at, ...said(history, 'fault').map(({ t_mono }) => t_mono));
  const sights = byNode(said(history, 'sight'));
  const nodes = livingNodes(history);
  const messages = nodes.flatMap((node) => {
    const seen = sights.get(node) ?? [];
    const first = seen.find((one) => (one.value.version ?? 0) >= version);
    const last = seen.at(-1)?.value.version ?? 0;
    if (first === undefined) return [`${node} never came to version ${version}; it says ${last}`];
    if (first.t_mono > since + limits.convergeMs)
      return [`${node} came to version ${version} only ${Math.round(first.t_mono - since)} ms after the last fault`];
    return last < version ? [`${node} was on version ${version}, and says ${last} in the end`] : [];
  });
  const open = exchanges(history, 'fault').filter(({ ended }) => ended === undefined);
  return { checked: nodes.length, messages: [...messages, ...open.map(({ began }) => `the fault ${began.value.name} never ended`)] };
}

/** The newest version that was accepted and may be deployed, and when that was said. */
function newestAccepted(history: readonly HistoryRecord[]): { version: number; at: number } | undefined {
  const accepted = exchanges(history, 'write').filter(({ began, ended }) => ended?.type === 'ok' && began.value.bad !== true);
  return accepted.reduce<{ version: number; at: number } | undefined>((highest, { ended }) => {
    const version = ended?.value.version ?? 0;
    return highest === undefined || version > highest.version ? { version, at: ended?.t_mono ?? 0 } : highest;
  }, undefined);
}

/** The name of the fault in which everything but the Envoys is dead. */
export const PLANE_DOWN = 'plane down';

/** I13: while everything but the Envoys is dead they serve; one that is killed then serves again from its node's disk, in time. */
export function checkFailStatic(history: readonly HistoryRecord[], limits: Limits): Finding {
  const downs = exchanges(history, 'fault').filter(({ began }) => began.value.name === PLANE_DOWN);
  const dead = exchanges(history, 'envoy');
  const steady = exchanges(history, 'request').filter(({ began }) => began.value.steady === true);
  let checked = 0;
  const messages: string[] = [];
  for (const down of downs) {
    const during = steady.filter(({ began }) => isWithin(began.t_mono, down));
    checked += during.length;
    if (during.length === 0) messages.push('nobody asked for anything while the plane was down');
    messages.push(...during.filter((one) => !wasDead(one, dead)).flatMap((one) => lossOf(one)));
    for (const { began, ended } of dead.filter((one) => isWithin(one.began.t_mono, down))) {
      checked += 1;
      const took = (ended?.t_mono ?? Number.POSITIVE_INFINITY) - began.t_mono;
      if (took > limits.coldStartMs)
        messages.push(`the Envoy of ${began.value.node} did not serve ${limits.coldStartMs} ms after it was killed`);
    }
  }
  return { checked, messages };
}

function isWithin(at: number, { began, ended }: Exchange): boolean {
  return at >= began.t_mono && at <= (ended?.t_mono ?? Number.POSITIVE_INFINITY);
}

/** I14: a change that no data plane should take reaches few, is gone in time, is never kept as good, and the next good one needs nobody's help. */
export function checkContained(history: readonly HistoryRecord[], limits: Limits): Finding {
  const writes = exchanges(history, 'write');
  const bad = writes.filter(({ began, ended }) => began.value.bad === true && ended?.type === 'ok');
  const messages = bad.flatMap((write) => containment(write, history, writes, limits));
  return { checked: bad.length, messages };
}

function containment({ began, ended }: Exchange, history: readonly HistoryRecord[], writes: readonly Exchange[], limits: Limits): string[] {
  const version = ended?.value.version ?? 0;
  const at = ended?.t_mono ?? 0;
  const messages: string[] = [];
  // What a node says of itself is what it serves: the bad version itself, before a later one took its place.
  const meets = byNode(said(history, 'sight').filter(({ value }) => value.version === version && value.bad === true));
  const most = began.value.mostAffected ?? 0;
  if (meets.size > most) messages.push(`version ${version} reached ${[...meets.keys()].join(', ')}; ${most} may meet it`);
  for (const [node, sights] of meets) {
    const lasted = (sights.at(-1)?.t_mono ?? 0) - at;
    const after = said(history, 'sight').some((one) => one.value.node === node && one.t_mono > (sights.at(-1)?.t_mono ?? 0));
    if (lasted > limits.containMs || !after)
      messages.push(`${node} still served version ${version} ${Math.round(lasted)} ms after it was made`);
  }
  if (said(history, 'kept').some(({ value }) => value.version === version && value.bad === true))
    messages.push(`version ${version} became the last known good one`);
  const next = writes.find((one) => one.began.t_mono > at && one.began.value.bad !== true && one.ended?.type === 'ok');
  const nextVersion = next?.ended?.value.version ?? Number.POSITIVE_INFINITY;
  const reached = byNode(said(history, 'sight').filter(({ value }) => (value.version ?? 0) >= nextVersion));
  const without = livingNodes(history).filter((node) => !reached.has(node));
  if (without.length > 0) messages.push(`after version ${version} no good change came to ${without.join(', ')}`);
  if (history.some(({ op, t_mono }) => op === 'human' && t_mono >= at)) messages.push(`after version ${version} somebody had to help`);
  return messages;
}
