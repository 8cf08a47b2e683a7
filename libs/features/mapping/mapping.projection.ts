import { type Db, sqlQuery, type Tx } from '#platform/database/database.js';
import type { RecordedEvent, SubjectRecord } from '#platform/eventstore/event-store.js';

import { fromJson } from './mapping-state.js';
import { routeOrderKey } from './route-order.js';
import { buildRouteTable, type RouteTableRow } from './route-table.js';

const KIND = 'mapping/';

/** The table's cursor is not where its writer thought: somebody else wrote, or it was reset. The writer must read it again. */
export class CursorMovedError extends Error {
  constructor(gateway: string, expected: number, found: number) {
    super(`the route table of ${gateway} is at version ${found}, not at ${expected}`);
    this.name = 'CursorMovedError';
  }
}

/** What the projection needs of one version of the log. */
export interface ProjectedVersion {
  readonly version: number;
  readonly events: readonly RecordedEvent[];
}

/**
 * Folds versions into the table of a gateway and moves its cursor, in the caller's transaction. The versions must follow the cursor; those that are
 * at or below it (brought again after a commit whose answer was lost) are passed over.
 * @throws CursorMovedError when the first new version is not the cursor's next. Anything that cannot be folded throws as well, and changes nothing.
 */
export async function projectRoutes(tx: Tx, gateway: string, versions: readonly ProjectedVersion[]): Promise<void> {
  const cursor = await lockCursor(tx, gateway);
  const fresh = versions.filter(({ version }) => version > cursor);
  const last = fresh.at(-1);
  if (last === undefined) return;
  if (fresh[0]?.version !== cursor + 1) throw new CursorMovedError(gateway, (fresh[0]?.version ?? 0) - 1, cursor);
  const changed = new Map<string, { event: RecordedEvent; version: number }>();
  for (const { version, events } of fresh) {
    for (const event of events) if (event.subject.startsWith(KIND)) changed.set(event.subject.slice(KIND.length), { event, version });
  }
  const ended = [...changed].filter(([, { event }]) => event.state === null).map(([mapping]) => mapping);
  const rows = [...changed].flatMap(([mapping, { event, version }]) => (event.state === null ? [] : [toRecord(mapping, event, version)]));
  // All that changed goes first: within a batch two mappings may exchange what makes their keys.
  await sqlQuery(tx, 'DELETE FROM chancery.route WHERE gateway = $1 AND mapping = ANY($2)', [
    gateway,
    [...ended, ...rows.map(({ mapping }) => mapping)],
  ]);
  if (rows.length > 0) await sqlQuery(tx, INSERT, [gateway, JSON.stringify(rows)]);
  await moveCursor(tx, gateway, last.version);
}

/** So many rows a statement: none of them comes near the time that a session may take for one. */
const ROWS_AT_ONCE = 2_000;

/**
 * Begins a table with what lives at a version, in the caller's transaction: the same rows as the fold of every event up to there, at the cost of the
 * living mappings and not of all that ever happened. A table that has begun is left as it is.
 * @throws Anything that cannot be folded, and changes nothing.
 */
export async function beginRoutes(
  tx: Tx,
  gateway: string,
  { version, subjects }: { readonly version: number; readonly subjects: readonly SubjectRecord[] },
): Promise<void> {
  if ((await lockCursor(tx, gateway)) > 0) return;
  const living = subjects.filter(({ subject }) => subject.startsWith(KIND));
  for (let at = 0; at < living.length; at += ROWS_AT_ONCE) {
    const rows = living
      .slice(at, at + ROWS_AT_ONCE)
      .map((one) => toRecord(one.subject.slice(KIND.length), { state: one.state, subjectVersion: one.version }, one.streamVersion));
    await sqlQuery(tx, INSERT, [gateway, JSON.stringify(rows)]);
  }
  await moveCursor(tx, gateway, version);
}

async function moveCursor(tx: Tx, gateway: string, version: number): Promise<void> {
  await sqlQuery(
    tx,
    `UPDATE chancery.route_projection SET version = $2, changed_at = clock_timestamp(), parked_version = NULL, parked_reason = NULL, parked_at = NULL
     WHERE gateway = $1`,
    [gateway, version],
  );
}

const INSERT = `INSERT INTO chancery.route
  (gateway, mapping, order_key, host, host_kind, match_kind, match_value, methods, headers, precedence, service, upstream, rewrite, timeout_ms, labels,
   mapping_version, gateway_version)
  SELECT $1, r.mapping, r.order_key, r.host, r.host_kind, r.match_kind, r.match_value, r.methods, r.headers, r.precedence, r.service, r.upstream, r.rewrite,
         r.timeout_ms, r.labels, r.mapping_version, r.gateway_version
  FROM jsonb_to_recordset($2::jsonb) AS r(mapping text, order_key text, host text, host_kind text, match_kind text, match_value text, methods text[],
    headers jsonb, precedence integer, service text, upstream text, rewrite text, timeout_ms integer, labels jsonb, mapping_version bigint, gateway_version bigint)`;

/** The cursor's row, made where it is missing, and locked: of two writers the second waits here, and then finds the cursor moved. */
async function lockCursor(tx: Tx, gateway: string): Promise<number> {
  await sqlQuery(tx, 'INSERT INTO chancery.route_projection (gateway) VALUES ($1) ON CONFLICT DO NOTHING', [gateway]);
  const rows = await sqlQuery<{ version: number }>(tx, 'SELECT version FROM chancery.route_projection WHERE gateway = $1 FOR UPDATE', [
    gateway,
  ]);
  return rows[0]?.version ?? 0;
}

interface RouteRecord {
  readonly mapping: string;
  readonly order_key: string;
  readonly host: string;
  readonly host_kind: RouteTableRow['hostKind'];
  readonly match_kind: RouteTableRow['match']['kind'];
  readonly match_value: string;
  readonly methods: readonly string[];
  readonly headers: Readonly<Record<string, string>>;
  readonly precedence: number;
  readonly service: string;
  readonly upstream: string | null;
  readonly rewrite: string;
  readonly timeout_ms: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly mapping_version: number;
  readonly gateway_version: number;
}

function toRecord(mapping: string, event: Pick<RecordedEvent, 'state' | 'subjectVersion'>, gatewayVersion: number): RouteRecord {
  const state = fromJson(mapping, event.state ?? {});
  const [row] = buildRouteTable([state]);
  if (row === undefined) throw new Error(`the mapping ${mapping} makes no row`);
  return {
    mapping,
    order_key: routeOrderKey(row),
    host: row.host,
    host_kind: row.hostKind,
    match_kind: row.match.kind,
    match_value: row.match.value,
    methods: row.methods,
    headers: row.headers,
    precedence: row.precedence,
    service: row.service,
    upstream: row.upstream,
    rewrite: row.rewrite,
    timeout_ms: row.timeoutMs,
    labels: state.labels,
    mapping_version: event.subjectVersion,
    gateway_version: gatewayVersion,
  };
}

/** Where the table of a gateway stands. */
export interface RouteProjection {
  readonly gateway: string;
  /** The gateway's version that the rows show; 0 when nothing was folded yet. */
  readonly version: number;
  /** Set when the next version cannot be folded; ISO 8601 in UTC. */
  readonly parked: { readonly version: number; readonly reason: string; readonly at: string } | null;
}

/** One gateway's, or with `undefined` all of them. A gateway that no projector has met has none. */
export async function readRouteProjections(db: Db, gateway?: string): Promise<RouteProjection[]> {
  const rows = await sqlQuery<{
    gateway: string;
    version: number;
    parked_version: number | null;
    parked_reason: string | null;
    parked_at: Date | null;
  }>(
    db,
    `SELECT gateway, version, parked_version, parked_reason, parked_at FROM chancery.route_projection WHERE $1::text IS NULL OR gateway = $1 ORDER BY gateway`,
    [gateway ?? null],
  );
  return rows.map((row) => ({
    gateway: row.gateway,
    version: row.version,
    parked:
      row.parked_version === null
        ? null
        : { version: row.parked_version, reason: row.parked_reason ?? '', at: row.parked_at?.toISOString() ?? '' },
  }));
}

/** Says of a gateway that its table cannot go on, and why. Its rows stay as they were before that version. */
export async function parkRoutes(tx: Tx, gateway: string, parked: { version: number; reason: string }): Promise<void> {
  const cursor = await lockCursor(tx, gateway);
  if (cursor !== parked.version - 1) throw new CursorMovedError(gateway, parked.version - 1, cursor);
  await sqlQuery(
    tx,
    'UPDATE chancery.route_projection SET parked_version = $2, parked_reason = $3, parked_at = clock_timestamp() WHERE gateway = $1',
    [gateway, parked.version, parked.reason],
  );
}

/** Forgets the table of a gateway: the projector begins it again. Until it has, `version` is 0. */
export async function resetRoutes(tx: Tx, gateway: string): Promise<void> {
  await lockCursor(tx, gateway);
  await sqlQuery(tx, 'DELETE FROM chancery.route WHERE gateway = $1', [gateway]);
  await sqlQuery(
    tx,
    'UPDATE chancery.route_projection SET version = 0, changed_at = clock_timestamp(), parked_version = NULL, parked_reason = NULL, parked_at = NULL WHERE gateway = $1',
    [gateway],
  );
}

/** One row of the current route table, with what is to be said of its mapping. */
export interface RouteView extends RouteTableRow {
  /** Where the row stands among all, as text that sorts: the `after` of the next page. */
  readonly orderKey: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly mappingVersion: number;
  readonly gatewayVersion: number;
  /** Null when there is nothing to say: the route is as it was asked for. */
  readonly status: {
    readonly state: 'unresolved' | 'set_aside';
    readonly code: string;
    readonly reason: string;
    readonly since: string;
  } | null;
}

export interface RouteFilters {
  readonly mapping?: string;
  readonly host?: string;
  readonly service?: string;
  readonly upstream?: string;
  /** The beginning of the path or prefix. */
  readonly matchPrefix?: string;
  readonly state?: 'unresolved' | 'set_aside';
  readonly labels?: Readonly<Record<string, string>>;
}

/**
 * A page of the current route table, in the order in which a request asks the rows; `order` counts from 0 over the whole table, also where filters
 * leave rows out. Pass the last row's `orderKey` as `after` for the next page. `readRouteProjections` says which version this shows.
 */
export async function listRoutes(
  db: Db,
  gateway: string,
  page: { readonly after?: string; readonly limit: number; readonly filters?: RouteFilters },
): Promise<RouteView[]> {
  const filters = page.filters ?? {};
  const rows = await sqlQuery<RouteRecord & { position: number; status: RouteView['status'] }>(db, LIST, [
    gateway,
    page.after ?? null,
    page.limit,
    filters.mapping ?? null,
    filters.host ?? null,
    filters.service ?? null,
    filters.upstream ?? null,
    filters.matchPrefix ?? null,
    filters.state ?? null,
    JSON.stringify(filters.labels ?? {}),
  ]);
  return rows.map(toView);
}

// The numbers are counted on the index alone, and only as far as the page's last row. Of two statuses set_aside is the graver; it sorts first.
const LIST = `WITH page AS MATERIALIZED (
    SELECT r.*, s.status
    FROM chancery.route r
    LEFT JOIN LATERAL (
      SELECT m.state, json_build_object('state', m.state, 'code', m.code, 'reason', m.reason,
               'since', to_char(m.since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) AS status
      FROM chancery.mapping_status m WHERE m.gateway = r.gateway AND m.mapping = r.mapping ORDER BY m.state LIMIT 1
    ) s ON true
    WHERE r.gateway = $1 AND ($2::text IS NULL OR r.order_key > $2)
      AND ($4::text IS NULL OR r.mapping = $4) AND ($5::text IS NULL OR r.host = $5) AND ($6::text IS NULL OR r.service = $6)
      AND ($7::text IS NULL OR r.upstream = $7) AND ($8::text IS NULL OR starts_with(r.match_value, $8))
      AND ($9::text IS NULL OR s.state = $9) AND r.labels @> $10::jsonb
    ORDER BY r.order_key LIMIT $3
  ), numbered AS (
    SELECT n.order_key, row_number() OVER (ORDER BY n.order_key) - 1 AS position
    FROM chancery.route n WHERE n.gateway = $1 AND n.order_key <= (SELECT max(order_key) FROM page)
  )
  SELECT page.*, numbered.position FROM page JOIN numbered USING (order_key) ORDER BY order_key`;

function toView(row: RouteRecord & { position: number; status: RouteView['status'] }): RouteView {
  return {
    order: row.position,
    orderKey: row.order_key,
    mapping: row.mapping,
    host: row.host,
    hostKind: row.host_kind,
    match: { kind: row.match_kind, value: row.match_value },
    methods: row.methods,
    headers: row.headers,
    precedence: row.precedence,
    service: row.service,
    upstream: row.upstream,
    rewrite: row.rewrite,
    timeoutMs: row.timeout_ms,
    labels: row.labels,
    mappingVersion: row.mapping_version,
    gatewayVersion: row.gateway_version,
    status: row.status,
  };
}
