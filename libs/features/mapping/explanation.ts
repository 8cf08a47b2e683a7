import { type BareRequest, type MismatchRule, mismatchBesideHost, mismatchOf, missingHeader } from './route-matcher.js';
import { compareRows, type OrderRule, orderRule, type RouteRow } from './route-table.js';

/** Why a mapping did not get a request: it does not match it, or it does and another one is asked before it. */
export type LosingRule = MismatchRule | OrderRuleName;
type OrderRuleName = `order_${OrderRule}`;

/** A mapping that did not get the request. */
export interface Loser {
  readonly row: RouteRow;
  readonly rule: LosingRule;
}

/** Why the mappings of a table did not get a request. */
export interface Losers {
  /** Those that came nearest, nearest first. */
  readonly nearest: readonly Loser[];
  /** How many are not among them. */
  readonly leftOut: number;
  /** All of them, by the rule. */
  readonly byRule: Readonly<Record<string, number>>;
}

/** So many rows are looked at before others have their turn: about 2 ms. */
const SLICE = 5_000;
/** The more of a row's conditions hold, the nearer it is; a row that matches and comes later is the nearest. */
const steps: Readonly<Record<MismatchRule, number>> = { host: 0, path: 1, method: 2, header: 3 };

/**
 * Looks at every row of a table for the reason why it did not get a request, and keeps the nearest ones. Yields now and then, for others.
 * @param winner the row that gets it, undefined for none.
 */
export function* explainLosers(
  rows: readonly RouteRow[],
  request: BareRequest,
  winner: RouteRow | undefined,
  most: number,
): Generator<undefined, Losers> {
  const byRule: Record<string, number> = {};
  const kept: (Loser & { readonly score: number })[] = [];
  let least = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < rows.length; i++) {
    if (i % SLICE === SLICE - 1) yield undefined;
    const row = rows[i] as RouteRow;
    if (row === winner) continue;
    const mismatch = mismatchOf(row, request);
    const rule: LosingRule = mismatch ?? (winner === undefined ? 'order_name' : `order_${orderRule(winner, row)}`);
    byRule[rule] = (byRule[rule] ?? 0) + 1;
    const score = mismatch === undefined ? 1e9 : nearness(row, request, mismatch);
    if (score < least) continue;
    kept.push({ row, rule, score });
    if (kept.length >= 4 * most + 64) least = keepNearest(kept, most);
  }
  keepNearest(kept, most);
  const nearest = kept.map(({ row, rule }) => ({ row, rule }));
  return { nearest, leftOut: rows.length - (winner === undefined ? 0 : 1) - nearest.length, byRule };
}

/** Leaves the nearest ones, in their order. @returns what a row must reach to be among them. */
function keepNearest(kept: (Loser & { readonly score: number })[], most: number): number {
  kept.sort((a, b) => b.score - a.score || compareRows(a.row, b.row));
  kept.length = Math.min(kept.length, most);
  return kept.length < most ? Number.NEGATIVE_INFINITY : (kept.at(-1)?.score ?? Number.NEGATIVE_INFINITY);
}

/**
 * How near a row that does not match comes to it. First how many of host, path, method and headers hold, then how much of the path: a path of which
 * more is right is nearer, and a host that is wrong weighs most unless all else is right.
 */
function nearness(row: RouteRow, request: BareRequest, mismatch: MismatchRule): number {
  if (mismatch !== 'host')
    return steps[mismatch] * 1e6 + (mismatch === 'path' ? sharedLength(row.match.value, request.path) : row.match.value.length);
  const rest = mismatchBesideHost(row, request);
  // Only the host is wrong: as near as a row of which as much of the path is right, and nearer the more the hosts have in common at their ends.
  return rest === undefined ? steps.path * 1e6 + row.match.value.length + sharedEnd(row.host, request.host) : steps.host;
}

function sharedLength(value: string, path: string): number {
  const end = Math.min(value.length, path.length);
  let at = 0;
  while (at < end && value.charCodeAt(at) === path.charCodeAt(at)) at += 1;
  return at;
}

function sharedEnd(pattern: string, host: string): number {
  let shared = 0;
  while (shared < Math.min(pattern.length, host.length) && pattern.at(-1 - shared) === host.at(-1 - shared)) shared += 1;
  return shared;
}

/** A losing rule in words, for one row. */
export function losingReason({ row, rule }: Loser, request: BareRequest, winner: RouteRow | undefined): string {
  const match = row.match.kind === 'path' ? `is not exactly ${row.match.value}` : `does not start with ${row.match.value}`;
  const before = winner === undefined ? '' : `It matches as well, and ${winner.mapping} is asked before it: `;
  switch (rule) {
    case 'host':
      return `The host ${request.host === '' ? '(none)' : request.host} is not covered by ${row.host}.`;
    case 'path':
      return `The path ${request.path} ${match}.`;
    case 'method':
      return `The method ${request.method} is none of ${row.methods.join(', ')}.`;
    case 'header':
      return headerReason(row, request);
    case 'order_host':
      return `${before}${winner?.host} is a narrower host than ${row.host}.`;
    case 'order_precedence':
      return `${before}its precedence is ${winner?.precedence}, and this one's ${row.precedence}.`;
    case 'order_exact_path':
      return `${before}an exact path comes before any prefix.`;
    case 'order_longer_match':
      return `${before}${winner?.match.value} is longer than ${row.match.value}.`;
    case 'order_more_conditions':
      return `${before}it has more conditions on method and headers.`;
    case 'order_name':
      return `${before}all else is equal, and its name comes first.`;
  }
}

function headerReason(row: RouteRow, request: BareRequest): string {
  const name = missingHeader(row, request) ?? '';
  const sent = request.headers[name];
  const was =
    sent === undefined
      ? 'is not sent'
      : `is ${[sent]
          .flat()
          .map((value) => JSON.stringify(value))
          .join(', ')}`;
  return `The header ${name} must be ${JSON.stringify(row.headers[name])}, and ${was}.`;
}
