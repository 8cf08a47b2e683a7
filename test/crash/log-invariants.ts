import { createHash } from 'node:crypto';

import pg from 'pg';

import type { Attempt } from './history.js';

/**
 * I1, I2, I4 and I11 of the log, read with plain SQL and folded here: an oracle that shares no code with the product.
 * Resolves to a list of faults in words; empty is right.
 */
export async function checkLog(databaseUrl: string, attempts: readonly Attempt[]): Promise<string[]> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    return [
      ...(await exactlyOnce(client, attempts)),
      ...(await gaplessAndChained(client)),
      ...(await subjectsAreTheFold(client)),
      ...(await routesAreTheFold(client)),
    ];
  } finally {
    await client.end();
  }
}

async function exactlyOnce(client: pg.Client, attempts: readonly Attempt[]): Promise<string[]> {
  const { rows } = await client.query<{ idempotency_key: string; version: string; times: string }>(
    `SELECT idempotency_key, min(version) AS version, count(*) AS times FROM chancery.version WHERE idempotency_key IS NOT NULL GROUP BY 1`,
  );
  const recorded = new Map(rows.map((row) => [row.idempotency_key, row]));
  const faults: string[] = [];
  for (const attempt of attempts) {
    const row = recorded.get(attempt.key);
    const times = Number(row?.times ?? 0);
    if (times > 1) faults.push(`revision ${attempt.revision} is in the log ${times} times`);
    if (attempt.outcome === 'accepted' && times === 0) faults.push(`revision ${attempt.revision} was acknowledged and is not in the log`);
    if (attempt.outcome === 'refused' && times > 0) faults.push(`revision ${attempt.revision} was refused and is in the log`);
    if (attempt.outcome === 'accepted' && row !== undefined && Number(row.version) !== attempt.version) {
      faults.push(`revision ${attempt.revision} was answered with version ${attempt.version} and is version ${row.version}`);
    }
  }
  return faults;
}

async function gaplessAndChained(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{
    stream: string;
    version: string;
    hash: Buffer;
    parent_hash: Buffer;
    actor: string;
    action: string;
  }>('SELECT stream, version, hash, parent_hash, actor, action FROM chancery.version ORDER BY stream, version');
  const faults: string[] = [];
  const last = new Map<string, { version: number; hash: Buffer }>();
  for (const row of rows) {
    const before = last.get(row.stream);
    const version = Number(row.version);
    const parent = before?.hash ?? createHash('sha256').update(`chancery\n${row.stream}`).digest();
    if (version !== (before?.version ?? 0) + 1) faults.push(`${row.stream}: version ${version} follows ${before?.version ?? 0}`);
    if (!row.parent_hash.equals(parent)) faults.push(`${row.stream}: version ${version} does not continue the chain`);
    if (row.actor === '' || row.action === '') faults.push(`${row.stream}: version ${version} has no actor or action`);
    last.set(row.stream, { version, hash: row.hash });
  }
  const heads = await client.query<{ stream: string; version: string; hash: Buffer }>(
    'SELECT stream, version, hash FROM chancery.stream WHERE version > 0',
  );
  for (const head of heads.rows) {
    const newest = last.get(head.stream);
    if (newest === undefined || newest.version !== Number(head.version) || !newest.hash.equals(head.hash))
      faults.push(`${head.stream}: the head is not its last version`);
  }
  return faults;
}

async function subjectsAreTheFold(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ stream: string; subject: string }>(
    `WITH fold AS (SELECT DISTINCT ON (stream, subject) stream, subject, subject_version, version, state::jsonb AS state
                     FROM chancery.event ORDER BY stream, subject, version DESC, position DESC)
     SELECT coalesce(f.stream, s.stream) AS stream, coalesce(f.subject, s.subject) AS subject
       FROM fold f FULL JOIN chancery.subject s ON s.stream = f.stream AND s.subject = f.subject
      WHERE f.subject_version IS DISTINCT FROM s.version OR f.state IS DISTINCT FROM s.state OR f.version IS DISTINCT FROM s.from_version`,
  );
  return rows.map((row) => `${row.stream} ${row.subject}: the current state is not the fold of its events`);
}

/** The projected table holds exactly the living mappings (the projector has caught up when this is called). */
async function routesAreTheFold(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ gateway: string; mapping: string }>(
    `WITH living AS (SELECT substr(stream, length('gateway/') + 1) AS gateway, substr(subject, length('mapping/') + 1) AS mapping
                       FROM chancery.subject WHERE stream LIKE 'gateway/%' AND subject LIKE 'mapping/%' AND state IS NOT NULL)
     SELECT coalesce(l.gateway, r.gateway) AS gateway, coalesce(l.mapping, r.mapping) AS mapping
       FROM living l FULL JOIN chancery.route r ON r.gateway = l.gateway AND r.mapping = l.mapping
      WHERE l.mapping IS NULL OR r.mapping IS NULL`,
  );
  return rows.map((row) => `${row.gateway}/${row.mapping}: the route table is not the fold of the log`);
}
