import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { aContext, anEvent, type LogFixture, openLog } from '../../../test/support/log-fixture.js';
import { listVersions, readSubject, readVersion, verifyStream } from './read-log.js';
import { handleOnSnapshot, type Snapshot } from './snapshot-command.js';

let log: LogFixture;
beforeAll(async () => {
  log = await openLog();
});
afterAll(() => log.close(), 30_000);

const put = (stream: string, subject: string, n: number) =>
  log.store.handle({ stream, subjects: [subject], context: aContext() }, () => [anEvent(subject, { n })]);
const whole = (stream: string, decide: Parameters<typeof handleOnSnapshot>[2], more: object = {}) =>
  handleOnSnapshot(log.store, { stream, context: aContext({ action: 'AddOne' }), ...more }, decide);

/** Adds one to everything that lives. */
const addOne = ({ subjects }: Snapshot) => ({
  events: [...subjects.values()].map(({ subject, state }) => anEvent(subject, { n: Number(state?.n) + 1 })),
  details: { count: subjects.size },
});

test('a command over a stream sees everything that lives, and its record says what it says beside its events', async () => {
  await put('gateway/whole', 'thing/a', 1);
  await put('gateway/whole', 'thing/b', 2);
  await log.store.handle({ stream: 'gateway/whole', subjects: ['thing/c'], context: aContext() }, () => [anEvent('thing/c', { n: 0 })]);
  await log.store.handle({ stream: 'gateway/whole', subjects: ['thing/c'], context: aContext() }, () => [anEvent('thing/c', null)]);
  const outcome = await whole('gateway/whole', addOne);
  expect(outcome).toMatchObject({ version: 5, basedOn: 4, unchanged: false, details: { count: 2 } });
  expect(await readVersion(log.database.db, 'gateway/whole', 5)).toMatchObject({ action: 'AddOne', details: { count: 2 }, eventCount: 2 });
  expect(await verifyStream(log.database.db, 'gateway/whole')).toMatchObject({ ok: true, version: 5 });
});

test('decided again while others write, it loses nothing of theirs and nothing of its own', async () => {
  const stream = 'gateway/busy';
  for (const name of ['a', 'b', 'c']) await put(stream, `thing/${name}`, 0);
  const others = Array.from({ length: 40 }, (_, i) => put(stream, `thing/other-${i}`, 100));
  const own = Array.from({ length: 5 }, () => whole(stream, addOne));
  const outcomes = await Promise.all(own);
  await Promise.all(others);
  expect(new Set(outcomes.map(({ version }) => version)).size).toBe(5);
  for (const name of ['a', 'b', 'c'])
    expect(await readSubject(log.database.db, stream, `thing/${name}`)).toMatchObject({ state: { n: 5 } });
  expect(await listVersions(log.database.db, { stream, limit: 100 })).toHaveLength(48);
  expect(await verifyStream(log.database.db, stream)).toMatchObject({ ok: true, version: 48 });
}, 30_000);

test('one that names a version is refused when the stream has moved on, before it decides and after', async () => {
  const stream = 'gateway/named';
  await put(stream, 'thing/a', 1);
  const precondition = { streamVersion: 1 };
  const moved = whole(
    stream,
    async (snapshot) => {
      await put(stream, 'thing/b', 1);
      return addOne(snapshot);
    },
    { precondition },
  );
  await expect(moved).rejects.toMatchObject({ kind: 'stale', code: 'version_mismatch', extra: { currentVersion: 2 } });
  await expect(whole(stream, addOne, { precondition })).rejects.toMatchObject({ kind: 'stale', code: 'version_mismatch' });
  expect(await whole(stream, addOne, { precondition: { streamVersion: 2 } })).toMatchObject({ version: 3 });
});

test('the same request again is answered and not decided, dry runs write nothing, nothing to do is no version', async () => {
  const stream = 'gateway/again';
  await put(stream, 'thing/a', 1);
  const context = aContext({ action: 'AddOne', idempotencyKey: 'key-key-key', fingerprint: 'f' });
  const first = await whole(stream, addOne, { context });
  const again = await whole(stream, () => Promise.reject(new Error('decided again')), {
    context: { ...context, commandId: aContext().commandId },
  });
  expect(again).toMatchObject({ version: first.version, replayed: true, details: { count: 1 } });
  expect(await whole(stream, addOne, { dryRun: true })).toMatchObject({ version: 3, basedOn: 2, dryRun: true });
  expect(await whole(stream, () => ({ events: [], details: null }))).toMatchObject({ version: 2, unchanged: true });
  expect(await whole('gateway/empty', addOne)).toMatchObject({ version: 0, unchanged: true });
});

test('a version that is to be confirmed has its deadline on the database clock, in single and in bulk appends', async () => {
  const stream = 'gateway/confirm';
  const context = aContext({ confirmWithinMs: 60_000 });
  await log.store.handle({ stream, subjects: ['thing/a'], context }, () => [anEvent('thing/a', { n: 1 })]);
  const subjects = Array.from({ length: 300 }, (_, i) => `thing/bulk-${i}`);
  await log.store.handle({ stream, subjects, context: aContext({ confirmWithinMs: 1_500 }) }, () =>
    subjects.map((subject) => anEvent(subject, { n: 1 })),
  );
  await put(stream, 'thing/z', 1);
  const rows = await log.asAdmin<{ version: number; ms: number; settled: string | null }>(
    `SELECT c.version, (extract(epoch FROM c.deadline - v.recorded_at) * 1000)::float8 AS ms, c.settled
       FROM chancery.confirmation c JOIN chancery.version v USING (stream, version) WHERE c.stream = $1 ORDER BY c.version`,
    [stream],
  );
  expect(rows).toEqual([
    { version: 1, ms: 60_000, settled: null },
    { version: 2, ms: 1_500, settled: null },
  ]);
});

test('details are hashed: an altered one is found', async () => {
  await put('gateway/hashed', 'thing/a', 1);
  await whole('gateway/hashed', addOne);
  await log.asAdmin('ALTER TABLE chancery.version DISABLE TRIGGER USER');
  await log.asAdmin(`UPDATE chancery.version SET details = '{"count":2}' WHERE stream = 'gateway/hashed' AND version = 2`);
  await log.asAdmin('ALTER TABLE chancery.version ENABLE TRIGGER USER');
  expect(await verifyStream(log.database.db, 'gateway/hashed')).toMatchObject({
    ok: false,
    version: 2,
    fault: expect.stringContaining('record'),
  });
});
