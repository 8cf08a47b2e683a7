import { hostCovers } from './host.js';
import type { MappingState } from './mapping-state.js';
import { compareRows, type RouteRow, routeRow } from './route-table.js';

/**
 * Which mappings of a table no request can reach, because one that is asked before them takes every request that they could match. One other that
 * takes them all: that several do so together is not looked for.
 */
export class Reachability {
  readonly #byMapping = new Map<string, RouteRow>();
  readonly #byMatch = new Map<string, RouteRow[]>();
  readonly #prefixes: Prefixes;

  constructor(mappings: Iterable<MappingState>) {
    const prefixes = new Set<string>();
    for (const mapping of mappings) {
      const row = routeRow(mapping);
      this.#byMapping.set(row.mapping, row);
      const key = `${row.match.kind}:${row.match.value}`;
      const same = this.#byMatch.get(key);
      if (same === undefined) this.#byMatch.set(key, [row]);
      else same.push(row);
      if (row.match.kind === 'prefix') prefixes.add(row.match.value);
    }
    this.#prefixes = new Prefixes(prefixes);
  }

  /** The first of the table that takes every request which this mapping could match; undefined when it can be reached, or is not in the table. */
  coveredBy(mapping: string): string | undefined {
    const own = this.#byMapping.get(mapping);
    if (own === undefined) return undefined;
    let first = own;
    for (const row of this.#alike(own)) {
      if (row !== own && compareRows(row, first) < 0 && coversAll(row, own)) first = row;
    }
    return first === own ? undefined : first.mapping;
  }

  /** Those whose path takes every path of this one. */
  *#alike({ match }: RouteRow): Iterable<RouteRow> {
    if (match.kind === 'path') yield* this.#byMatch.get(`path:${match.value}`) ?? [];
    for (const prefix of this.#prefixes.of(match.value)) yield* this.#byMatch.get(`prefix:${prefix}`) ?? [];
  }
}

/** A set of texts that finds those that another text begins with, without trying each. */
class Prefixes {
  /** In the order of their code units, so that whatever begins with a text follows right after it. */
  readonly #sorted: readonly string[];
  /** For each, where the longest other one is that it begins with; -1 for none. */
  readonly #within: readonly number[];

  constructor(texts: ReadonlySet<string>) {
    this.#sorted = [...texts].sort();
    const open: number[] = [];
    this.#within = this.#sorted.map((text, i) => {
      while (open.length > 0 && !text.startsWith(this.#sorted[open.at(-1) ?? 0] ?? '')) open.pop();
      const within = open.at(-1) ?? -1;
      open.push(i);
      return within;
    });
  }

  /** Those that the text begins with, itself included. Between each of them and the text there are only others that begin with it. */
  *of(text: string): Iterable<string> {
    let at = this.#lastUpTo(text);
    while (at >= 0) {
      const prefix = this.#sorted[at] ?? '';
      if (text.startsWith(prefix)) yield prefix;
      at = this.#within[at] ?? -1;
    }
  }

  #lastUpTo(text: string): number {
    let [low, high] = [0, this.#sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#sorted[middle] ?? '') <= text) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}

/** Does `row` take every request that `other` could match, whose path it takes? */
function coversAll(row: RouteRow, other: RouteRow): boolean {
  const methods = row.methods.length === 0 || (other.methods.length > 0 && other.methods.every((method) => row.methods.includes(method)));
  const headers = Object.entries(row.headers).every(([name, value]) => other.headers[name] === value);
  return (
    methods && headers && (row.host === other.host || row.host === '*' || (row.hostKind === 'suffix' && hostCovers(row.host, other.host)))
  );
}
