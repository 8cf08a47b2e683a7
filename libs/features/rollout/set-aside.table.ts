import { type Db, sqlQuery } from '#platform/database/database.js';

/** A mapping whose render Envoy refused, as it stood when it was refused. */
interface SetAside {
  readonly mapping: string;
  /** Content hash of the mapping's state that this is about: another state is another matter. */
  readonly digest: string;
  readonly code: string;
  readonly reason: string;
  /** Not even a route that answers 503 could be kept for it. */
  readonly dropped: boolean;
}

/** What the workers say of a mapping's state. */
export interface StatusRow extends SetAside {
  readonly state: 'unresolved' | 'set_aside';
}

export async function readStatusRows(db: Db, gateway: string): Promise<StatusRow[]> {
  return sqlQuery(
    db,
    'select mapping, state, digest, code, reason, dropped from chancery.mapping_status where gateway = $1 order by mapping, state',
    [gateway],
  );
}

/** Brings the table from `before` to `after`, writing only the differences. An unchanged status keeps its `since`. */
export async function replaceStatusRows(
  db: Db,
  gateway: string,
  before: readonly StatusRow[],
  after: readonly StatusRow[],
): Promise<boolean> {
  const key = (row: StatusRow) => JSON.stringify([row.mapping, row.state, row.digest, row.code, row.reason, row.dropped]);
  const [old, wanted] = [new Set(before.map(key)), new Set(after.map(key))];
  const gone = before.filter((row) => !wanted.has(key(row)));
  const added = after.filter((row) => !old.has(key(row)));
  if (gone.length > 0) {
    await sqlQuery(
      db,
      `delete from chancery.mapping_status s using unnest($2::text[], $3::text[], $4::text[]) as g (mapping, state, digest)
        where s.gateway = $1 and s.mapping = g.mapping and s.state = g.state and s.digest = g.digest`,
      [gateway, gone.map((row) => row.mapping), gone.map((row) => row.state), gone.map((row) => row.digest)],
    );
  }
  if (added.length > 0) {
    await sqlQuery(
      db,
      `insert into chancery.mapping_status as s (gateway, mapping, state, digest, code, reason, dropped)
       select $1, a.* from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[]) as a
       on conflict (gateway, mapping, state) do update
          set digest = excluded.digest, code = excluded.code, reason = excluded.reason, dropped = excluded.dropped,
              since = case when s.digest = excluded.digest and s.code = excluded.code then s.since else clock_timestamp() end`,
      [
        gateway,
        added.map((row) => row.mapping),
        added.map((row) => row.state),
        added.map((row) => row.digest),
        added.map((row) => row.code),
        added.map((row) => row.reason.slice(0, 2_000)),
        added.map((row) => row.dropped),
      ],
    );
  }
  return gone.length + added.length > 0;
}

/** Tells every worker that what is set aside on this gateway is not what it was. A hint: who misses it finds out with its next sweep. */
export async function notifySetAside(db: Db, gateway: string): Promise<void> {
  await sqlQuery(db, `select pg_notify('chancery_aside', $1)`, [gateway]);
}

/** Lets mappings back in that were set aside for so long because their upstream was not ready: it may be now. Answers their gateways. */
export async function releaseNotReady(db: Db, code: string, afterMs: number): Promise<string[]> {
  const rows = await sqlQuery<{ gateway: string }>(
    db,
    `with gone as (
       delete from chancery.mapping_status
        where state = 'set_aside' and code = $1 and since < clock_timestamp() - $2 * interval '1 ms' returning gateway)
     select distinct gateway from gone`,
    [code, afterMs],
  );
  return rows.map(({ gateway }) => gateway);
}
