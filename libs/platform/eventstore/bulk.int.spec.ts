import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { aContext, anEvent, type LogFixture, openLog } from '../../../test/support/log-fixture.js';
import { readSubject, readVersion, stateAt, verifyStream } from './read-log.js';

let log: LogFixture;
beforeAll(async () => {
  log = await openLog();
});
afterAll(() => log.close(), 30_000);

const names = (count: number) => Array.from({ length: count }, (_, i) => `thing/${String(i).padStart(6, '0')}`);

test('100,000 events are one version, and those of the next command too', async () => {
  const stream = 'gateway/bulk';
  const subjects = names(100_000);
  const store = log.anotherStore({ deadlineMs: 120_000 });
  const first = await store.handle({ stream, subjects, context: aContext({ action: 'Import', reason: 'a\tb\\c\nd' }) }, () =>
    subjects.map((subject, i) => anEvent(subject, { i, text: 'tab\t back\\slash "quoted" \n é 中' }, { claims: [`claim/${i}`] })),
  );
  expect(first.version).toBe(1);
  expect(first.events).toHaveLength(100_000);
  expect(await readSubject(log.database.db, stream, 'thing/099999')).toMatchObject({
    version: 1,
    state: { i: 99_999, text: 'tab\t back\\slash "quoted" \n é 中' },
  });

  const some = subjects.slice(0, 500);
  const second = await store.handle({ stream, subjects: some, context: aContext() }, () =>
    some.map((subject, i) => anEvent(subject, i % 2 ? null : { changed: i }, { claims: i % 2 ? [] : [`moved/${i}`] })),
  );
  expect(second.version).toBe(2);
  expect(await stateAt(log.database.db, stream, 1)).toHaveLength(100_000);
  expect(await stateAt(log.database.db, stream, 2)).toHaveLength(99_750);
  expect((await readVersion(log.database.db, stream, 2))!.events).toHaveLength(500);
  expect(await verifyStream(log.database.db, stream)).toMatchObject({ ok: true, version: 2 });
  const [claims] = await log.asAdmin<{ count: string }>('SELECT count(*) FROM chancery.claim WHERE stream = $1', [stream]);
  expect(Number(claims!.count)).toBe(99_750);
}, 120_000);

test('a bulk command is refused whole, by the same rules as a small one', async () => {
  const stream = 'gateway/bulk-rules';
  const { store } = log;
  const subjects = names(300);
  await store.handle({ stream, subjects: ['thing/owner'], context: aContext() }, () => [
    anEvent('thing/owner', { n: 1 }, { claims: ['/taken'] }),
  ]);
  const bulk = (more: { claims?: string[]; references?: string[] }, idempotency: { idempotencyKey?: string; fingerprint?: string } = {}) =>
    store.handle({ stream, subjects, context: aContext(idempotency) }, () =>
      subjects.map((subject, i) => anEvent(subject, { i }, i === 299 ? more : {})),
    );
  await expect(bulk({ claims: ['/taken'] })).rejects.toMatchObject({ code: 'claim_taken', extra: { owner: 'thing/owner' } });
  await expect(bulk({ references: ['thing/absent'] })).rejects.toMatchObject({ code: 'reference_missing' });
  const stale = store.handle({ stream, subjects, context: aContext(), precondition: { streamVersion: 9 } }, () =>
    subjects.map((subject) => anEvent(subject, {})),
  );
  await expect(stale).rejects.toMatchObject({ code: 'version_mismatch' });
  const key = { idempotencyKey: 'import-1', fingerprint: 'f' };
  expect(await bulk({ references: ['thing/owner'] }, key)).toMatchObject({ version: 2, replayed: false });
  expect(await bulk({}, key)).toMatchObject({ version: 2, replayed: true });
  const end = store.handle({ stream, subjects: ['thing/owner'], context: aContext() }, () => [anEvent('thing/owner', null)]);
  await expect(end).rejects.toMatchObject({ code: 'referenced', extra: { by: 'thing/000299' } });
  expect(await verifyStream(log.database.db, stream)).toMatchObject({ ok: true, version: 2 });
});

test('an event that cannot be stored refuses its bulk command and leaves the connection usable', async () => {
  const subjects = names(300);
  const poisoned = log.store.handle({ stream: 'gateway/bulk-poison', subjects, context: aContext() }, () =>
    subjects.map((subject, i) => anEvent(subject, { text: i === 200 ? '\0' : 'fine' })),
  );
  await expect(poisoned).rejects.toMatchObject({ kind: 'invalid', code: 'unstorable' });
  const unstaged = log.store.handle({ stream: 'gateway/bulk-poison', subjects, context: aContext() }, () =>
    subjects.map((subject, i) => anEvent(subject, {}, i === 200 ? { schemaVersion: 40_000 } : {})),
  );
  await expect(unstaged).rejects.toMatchObject({ kind: 'invalid', code: 'unstorable' });
  await log.store.handle({ stream: 'gateway/bulk-poison', subjects, context: aContext() }, () =>
    subjects.map((subject) => anEvent(subject, {})),
  );
});

test('small commands go on while a bulk command is being staged', async () => {
  const stream = 'gateway/bulk-beside';
  const subjects = names(20_000);
  const importing = log
    .anotherStore({ deadlineMs: 60_000 })
    .handle({ stream, subjects, context: aContext() }, () => subjects.map((subject) => anEvent(subject, { n: 1 })));
  let small = 0;
  let importDone = false;
  void importing.finally(() => {
    importDone = true;
  });
  while (!importDone) {
    await log.store.handle({ stream, subjects: ['small/one'], context: aContext() }, () => [anEvent('small/one', { small })]);
    small += 1;
  }
  await importing;
  expect(small).toBeGreaterThan(3);
  expect(await verifyStream(log.database.db, stream)).toMatchObject({ ok: true, version: small + 1 });
}, 60_000);

test('claims that stay, change hands, end and come back in bulk are those of the last version; every version is there as it was', async () => {
  const stream = 'gateway/bulk-claims';
  const subjects = names(400);
  const claimOf = [
    (i: number) => [`claim/${i}`], // everything begins
    (i: number) => (i < 100 ? [`claim/${i}`] : i < 200 ? [`claim/${i ^ 1}`] : i < 300 ? [] : [`claim/${i}`, `more/${i}`]), // stays; changes hands; ends; grows
    (i: number) => (i < 200 ? [`claim/${i}`] : i < 300 ? [`claim/${599 - i}`] : [`more/${i}`]), // back; comes back as another's; shrinks
  ];
  for (const [n, claims] of claimOf.entries()) {
    await log.store.handle({ stream, subjects, context: aContext() }, () =>
      subjects.map((subject, i) => anEvent(subject, n === 1 && i >= 200 && i < 300 ? null : { n, i }, { claims: claims(i) })),
    );
    // Changes that are not many stand between, so that both kinds of former states are met.
    await log.store.handle({ stream, subjects: ['thing/000000'], context: aContext() }, () => [
      anEvent('thing/000000', { n, i: 0, alone: true }, { claims: ['claim/0'] }),
    ]);
  }
  const held = await log.asAdmin<{ claim: string; subject: string }>('SELECT claim, subject FROM chancery.claim WHERE stream = $1', [
    stream,
  ]);
  const expected = subjects.flatMap((subject, i) => (claimOf[2]?.(i) ?? []).map((claim) => ({ claim, subject })));
  const byClaim = (a: { claim: string }, b: { claim: string }) => (a.claim < b.claim ? -1 : 1);
  expect(held.sort(byClaim)).toEqual(expected.sort(byClaim));
  for (const [n, living] of [400, 300, 400].entries()) {
    for (const version of [2 * n + 1, 2 * n + 2]) {
      const states = await stateAt(log.database.db, stream, version);
      expect(states.map(({ state }) => state?.n)).toEqual(new Array(living).fill(n));
      expect(states[0]?.state).toEqual(version % 2 ? { n, i: 0 } : { n, i: 0, alone: true });
    }
  }
  expect(await verifyStream(log.database.db, stream)).toMatchObject({ ok: true, version: 6 });
  const taken = log.store.handle({ stream, subjects: [...subjects, 'thing/new'], context: aContext() }, () => [
    ...subjects.slice(0, 250).map((subject) => anEvent(subject, { n: 9 })),
    anEvent('thing/new', {}, { claims: ['more/399'] }),
  ]);
  await expect(taken).rejects.toMatchObject({ code: 'claim_taken', extra: { owner: 'thing/000399' } });
});
