import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';

import { aContext, anEvent, type LogFixture, openLog } from '../../../test/support/log-fixture.js';
import { verifyStream } from './read-log.js';

let log: LogFixture;
const stream = 'gateway/sealed';
beforeAll(async () => {
  log = await openLog();
  for (let n = 1; n <= 9; n++) {
    await log.store.handle(
      { stream, subjects: ['thing/x'], context: aContext({ reason: `line one\nline ${n}`, requestId: `r${n}` }) },
      () => [anEvent('thing/x', { n })],
    );
  }
});
afterAll(() => log.close(), 30_000);

async function as(url: string, statements: readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString: url, options: '-c search_path=chancery' });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

describe.each(['stream', 'version', 'event', 'subject', 'subject_history', 'claim', 'reference'])('%s', (table) => {
  test.each([
    [`UPDATE ${table} SET stream = stream`],
    [`DELETE FROM ${table}`],
    [`TRUNCATE ${table}`],
    [`INSERT INTO ${table} DEFAULT VALUES`],
    [`ALTER TABLE ${table} DISABLE TRIGGER ALL`],
    [`DROP TABLE ${table}`],
  ])('the application may not: %s', async (statement) => {
    await expect(as(log.test.url, [statement])).rejects.toMatchObject({ code: '42501' });
  });
});

test('of a confirmation the application may say what became of it, and not move its deadline', async () => {
  await as(log.test.url, ["UPDATE confirmation SET settled = 'confirmed' WHERE version = 0", 'SELECT FROM confirmation FOR UPDATE']);
  for (const statement of [
    'UPDATE confirmation SET deadline = now()',
    'DELETE FROM confirmation',
    "INSERT INTO confirmation SELECT 'gateway/x', 1, now()",
  ])
    await expect(as(log.test.url, [statement])).rejects.toMatchObject({ code: '42501' });
});

test('the application may not switch triggers off for its session, nor become the owner', async () => {
  await expect(as(log.test.url, ['SET session_replication_role = replica'])).rejects.toMatchObject({ code: '42501' });
  await expect(as(log.test.url, ['SET ROLE chancery_owner'])).rejects.toMatchObject({ code: '42501' });
});

test.each(['append_bulk', 'append_staged'])('the application cannot lend its own tables to %s', async (name) => {
  const disguise = ['event', 'read', 'claim', 'reference'].map(
    (table) => `CREATE TEMPORARY VIEW staged_${table} AS SELECT 1 AS position, 'x' AS digest`,
  );
  const append = `SELECT ${name}('gateway/sealed', gen_random_uuid(), 'A', 'a', null, null, null, null, null, null, null)`;
  await expect(as(log.test.url, ['BEGIN', ...disguise, append])).rejects.toMatchObject({ code: '42501' });
});

describe('the owner is refused too', () => {
  test.each([
    ['UPDATE version SET actor = actor'],
    ['DELETE FROM version'],
    ['TRUNCATE version CASCADE'],
    ['UPDATE event SET type = type'],
    ['DELETE FROM event'],
    ['TRUNCATE event'],
    ['DELETE FROM subject_history'],
    ['UPDATE subject_history SET version = version'],
    ['TRUNCATE subject_history'],
    ['DELETE FROM stream'],
    ['TRUNCATE stream'],
    ['TRUNCATE subject'],
  ])('%s', async (statement) => {
    await expect(as(log.test.ownerUrl, [statement])).rejects.toThrow('append-only');
  });
});

describe('what an owner with the triggers off does, verification finds', () => {
  const tampering: [string, string, number, string][] = [
    ["an event's state", `UPDATE event SET state = '{"n": 666}' WHERE stream = '${stream}' AND version = 4`, 4, 'events'],
    [
      "an event's state and its digest",
      `UPDATE event SET state = '{"n": 666}', digest = event_digest(type, schema_version, subject, subject_version, '{"n": 666}') WHERE version = 4`,
      4,
      'events',
    ],
    ['an actor', `UPDATE version SET actor = 'somebody' WHERE version = 5`, 5, 'record'],
    ['a reason', `UPDATE version SET reason = null WHERE version = 5`, 5, 'record'],
    ['a time', `UPDATE version SET recorded_at = recorded_at - interval '1 microsecond' WHERE version = 5`, 5, 'record'],
    ['a removed version', 'DELETE FROM version WHERE version = 6', 6, 'events without a version'],
    ['a removed version and its events', 'DELETE FROM version WHERE version = 6; DELETE FROM event WHERE version = 6', 7, 'gap'],
    ['a removed event', 'DELETE FROM event WHERE version = 3', 3, 'events'],
    ['the last version removed', 'DELETE FROM version WHERE version = 9; DELETE FROM event WHERE version = 9', 9, 'head'],
    [
      'two versions exchanged',
      'UPDATE version SET version = -2 WHERE version = 2; UPDATE version SET version = 2 WHERE version = 3; UPDATE version SET version = 3 WHERE version = -2',
      2,
      'chain',
    ],
  ];
  test.each(tampering)('%s', async (_, statement, version, fault) => {
    const owner = new pg.Client({ connectionString: log.test.ownerUrl, options: '-c search_path=chancery' });
    await owner.connect();
    try {
      await owner.query('BEGIN; ALTER TABLE version DISABLE TRIGGER USER; ALTER TABLE event DISABLE TRIGGER USER');
      await owner.query(statement);
      const { rows } = await owner.query('SELECT version::int, fault FROM verify($1, 0, genesis_hash($1))', [stream]);
      expect(rows).toEqual([{ version, fault: expect.stringContaining(fault) }]);
    } finally {
      await owner.query('ROLLBACK');
      await owner.end();
    }
  });

  test('a chain rebuilt by the owner does not meet the hash that was pinned outside', async () => {
    const { db } = log.database;
    const whole = await verifyStream(db, stream);
    expect(whole).toMatchObject({ ok: true, version: 9 });
    expect(await verifyStream(db, stream, { from: { version: 9, hash: 'ab'.repeat(32) } })).toMatchObject({
      ok: false,
      version: 9,
      fault: expect.stringContaining('anchor'),
    });
    expect(await verifyStream(db, stream, { from: { version: 5, hash: 'ab'.repeat(32) } })).toMatchObject({ ok: false });
    expect(await verifyStream(db, stream, { from: { version: 12, hash: 'ab'.repeat(32) } })).toMatchObject({ ok: false });
    if (whole.ok)
      expect(await verifyStream(db, stream, { from: { version: 9, hash: whole.hash } })).toMatchObject({ ok: true, version: 9 });
  });
});
