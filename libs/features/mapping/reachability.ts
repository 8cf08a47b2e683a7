import { hostCovers } from './host.js';
import type { MappingState } from './mapping-state.js';
import { buildRouteTable, type RouteTableRow } from './route-table.js';

/**
 * Which mappings of a table no request can reach, because one that is asked before them takes every request that they could match. One other that
 * takes them all: that several do so together is not looked for.
 */
export class Reachability {
  readonly #byMapping = new Map<string, RouteTableRow>();
  readonly #byMatch = new Map<string, RouteTableRow[]>();
  readonly #prefixLengths: readonly number[];

  constructor(mappings: Iterable<MappingState>) {
    const lengths = new Set<number>();
    for (const row of buildRouteTable(mappings)) {
      this.#byMapping.set(row.mapping, row);
      const key = `${row.match.kind}:${row.match.value}`;
      const same = this.#byMatch.get(key);
      if (same === undefined) this.#byMatch.set(key, [row]);
      else same.push(row);
      if (row.match.kind === 'prefix') lengths.add(row.match.value.length);
    }
    this.#prefixLengths = [...lengths];
  }

  /** The first of the table that takes every request which this mapping could match; undefined when it can be reached, or is not in the table. */
  coveredBy(mapping: string): string | undefined {
    const own = this.#byMapping.get(mapping);
    if (own === undefined) return undefined;
    let first: RouteTableRow | undefined;
    for (const row of this.#alike(own)) {
      if (row.order < (first?.order ?? own.order) && coversAll(row, own)) first = row;
    }
    return first?.mapping;
  }

  /** Those whose path takes every path of this one. */
  *#alike({ match }: RouteTableRow): Iterable<RouteTableRow> {
    if (match.kind === 'path') yield* this.#byMatch.get(`path:${match.value}`) ?? [];
    for (const length of this.#prefixLengths) {
      if (length <= match.value.length) yield* this.#byMatch.get(`prefix:${match.value.slice(0, length)}`) ?? [];
    }
  }
}

/** Does `row` take every request that `other` could match, whose path it takes? */
function coversAll(row: RouteTableRow, other: RouteTableRow): boolean {
  const methods = row.methods.length === 0 || (other.methods.length > 0 && other.methods.every((method) => row.methods.includes(method)));
  const headers = Object.entries(row.headers).every(([name, value]) => other.headers[name] === value);
  return (
    methods && headers && (row.host === other.host || row.host === '*' || (row.hostKind === 'suffix' && hostCovers(row.host, other.host)))
  );
}
