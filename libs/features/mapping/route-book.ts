import type { MappingState } from './mapping-state.js';
import { type BareRequest, mismatchOf } from './route-matcher.js';
import { compareRows, type RouteRow, routeRow } from './route-table.js';

/** The rows of one host. */
interface HostRows {
  readonly paths: Map<string, RouteRow[]>;
  readonly prefixes: Map<string, RouteRow[]>;
  /** How many rows have a prefix of this length: the only ones that need to be looked for. */
  readonly lengths: Map<number, number>;
}

/**
 * A route table that changes mapping by mapping, and finds the mapping of a request without asking every row: by host, then by path. It only chooses
 * whom to ask; whether a row matches is `mismatchOf`'s to say, and which of two comes first `compareRows`'.
 */
export class RouteBook {
  readonly #rows = new Map<string, RouteRow>();
  readonly #hosts = new Map<string, HostRows>();

  get size(): number {
    return this.#rows.size;
  }

  /** Every row, in no order. */
  rows(): Iterable<RouteRow> {
    return this.#rows.values();
  }

  row(mapping: string): RouteRow | undefined {
    return this.#rows.get(mapping);
  }

  put(mapping: MappingState): void {
    this.remove(mapping.name);
    const row = routeRow(mapping);
    this.#rows.set(row.mapping, row);
    const host = this.#hosts.get(row.host) ?? { paths: new Map(), prefixes: new Map(), lengths: new Map() };
    this.#hosts.set(row.host, host);
    const { kind, value } = row.match;
    const byValue = kind === 'path' ? host.paths : host.prefixes;
    const same = byValue.get(value);
    if (same === undefined) byValue.set(value, [row]);
    else same.push(row);
    if (kind === 'prefix') host.lengths.set(value.length, (host.lengths.get(value.length) ?? 0) + 1);
  }

  remove(mapping: string): void {
    const row = this.#rows.get(mapping);
    if (row === undefined) return;
    this.#rows.delete(mapping);
    const host = this.#hosts.get(row.host);
    if (host === undefined) return;
    const { kind, value } = row.match;
    const byValue = kind === 'path' ? host.paths : host.prefixes;
    const rest = (byValue.get(value) ?? []).filter((other) => other !== row);
    if (rest.length > 0) byValue.set(value, rest);
    else byValue.delete(value);
    if (kind === 'prefix') {
      const left = (host.lengths.get(value.length) ?? 1) - 1;
      if (left > 0) host.lengths.set(value.length, left);
      else host.lengths.delete(value.length);
    }
    if (host.paths.size + host.prefixes.size === 0) this.#hosts.delete(row.host);
  }

  /** The row that gets the request; rows of the mappings in `without` are passed over. */
  find(request: BareRequest, without?: ReadonlySet<string> | ReadonlyMap<string, unknown>): RouteRow | undefined {
    for (const pattern of hostPatterns(request.host)) {
      const host = this.#hosts.get(pattern);
      if (host === undefined) continue;
      let first: RouteRow | undefined;
      for (const row of candidates(host, request.path)) {
        if (without?.has(row.mapping) === true || mismatchOf(row, request) !== undefined) continue;
        if (first === undefined || compareRows(row, first) < 0) first = row;
      }
      if (first !== undefined) return first;
    }
    return undefined;
  }
}

/** The hosts of mappings that cover a host name, the one that is asked first before the others. */
function* hostPatterns(host: string): Iterable<string> {
  if (host !== '*' && !host.startsWith('*.')) yield host;
  for (let dot = host.indexOf('.', 1); dot > 0; dot = host.indexOf('.', dot + 1)) yield `*${host.slice(dot)}`;
  yield '*';
}

function* candidates({ paths, prefixes, lengths }: HostRows, path: string): Iterable<RouteRow> {
  yield* paths.get(path) ?? [];
  for (const length of lengths.keys()) if (length <= path.length) yield* prefixes.get(path.slice(0, length)) ?? [];
}
