import type { HistoryRecord, Operation } from './fault-history.js';

/** Something with its beginning and its end; undefined where the history does not have it. */
export interface Exchange {
  readonly began: HistoryRecord;
  readonly ended: HistoryRecord | undefined;
}

/** What began in a history, with how it ended. */
export function exchanges(history: readonly HistoryRecord[], op: Operation): Exchange[] {
  const ends = new Map<string, HistoryRecord>();
  for (const record of history) if (record.op === op && record.type !== 'invoke') ends.set(record.cmdId, ends.get(record.cmdId) ?? record);
  return history.filter((record) => record.op === op && record.type === 'invoke').map((began) => ({ began, ended: ends.get(began.cmdId) }));
}

export function said(history: readonly HistoryRecord[], op: Operation): HistoryRecord[] {
  return history.filter((record) => record.op === op && record.type === 'ok');
}

/** Records by node, in their order. */
export function byNode(records: readonly HistoryRecord[]): Map<string, HistoryRecord[]> {
  const nodes = new Map<string, HistoryRecord[]>();
  for (const record of records) {
    const node = record.value.node ?? '';
    const same = nodes.get(node);
    if (same === undefined) nodes.set(node, [record]);
    else same.push(record);
  }
  return nodes;
}

/** The nodes that are there in the end. */
export function livingNodes(history: readonly HistoryRecord[]): string[] {
  const nodes = new Map<string, boolean>();
  for (const { op, type, value } of history) if (op === 'node') nodes.set(value.node ?? '', type === 'ok');
  return [...nodes].filter(([, lives]) => lives).map(([node]) => node);
}

/** The value below which so much of the sorted values lies. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}
