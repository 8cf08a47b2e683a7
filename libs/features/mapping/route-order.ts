import type { RouteTableRow } from './route-table.js';

const MOST_DIGITS = 10;
/** Larger than any length, count or precedence (limits.ts), with room for a precedence below nothing. */
const MIDDLE = 2 ** 32;

/**
 * A text that sorts, byte by byte, as the row stands in the route table: the key under which a stored table keeps its order without numbering its
 * rows. Each part of the total order becomes a part of fixed width, larger-first ones counted down from a constant; the host, of any length, is
 * ended by a space, which sorts before every character that a host may have. Equal keys mean the same mapping, as its name comes last.
 *
 * It must agree with `buildRouteTable`, which a property test holds it to.
 */
export function routeOrderKey(row: Omit<RouteTableRow, 'order'>): string {
  const rank = { exact: '0', suffix: '1', any: '2' }[row.hostKind];
  const conditions = Object.keys(row.headers).length + (row.methods.length > 0 ? 1 : 0);
  return [
    rank + largerFirst(row.hostKind === 'suffix' ? row.host.length : 0),
    row.host,
    largerFirst(row.precedence) + (row.match.kind === 'path' ? '0' : '1') + largerFirst(row.match.value.length) + largerFirst(conditions),
    row.mapping,
  ].join(' ');
}

function largerFirst(value: number): string {
  return String(MIDDLE - Math.trunc(value)).padStart(MOST_DIGITS, '0');
}
