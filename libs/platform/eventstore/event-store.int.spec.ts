import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { DomainError } from '#platform/kernel/errors.js';

import { aContext, anEvent, type LogFixture, openLog } from '../../../test/support/log-fixture.js';
import type { HandleRequest } from './event-store.js';
import { readSubject, verifyStream } from './read-log.js';

let log: LogFixture;
beforeAll(async () => {
  log = await openLog();
});
afterAll(() => log.close(), 30_000);

const request = (stream: string, subject: string, more: Partial<HandleRequest> = {}): HandleRequest => ({
  stream,
  subjects: [subject],
  context: aContext(),
  ...more,
});
const head = async (stream: string) =>
  (await log.asAdmin<{ version: string }>('SELECT version FROM chancery.stream WHERE stream = $1', [stream]))[0]?.version;

test('a command becomes the next version of its stream, and its subjects are read back', async () => {
  const { store } = log;
  const first = await store.handle(request('gateway/a', 'thing/x'), () => [anEvent('thing/x', { n: 1 })]);
  expect(first).toMatchObject({
    version: 1,
    replayed: false,
    unchanged: false,
    events: [{ subject: 'thing/x', subjectVersion: 1, state: { n: 1 }, index: 0 }],
  });
  const second = await store.handle(request('gateway/a', 'thing/x'), (view) => {
    expect(view.subject('thing/x')).toMatchObject({ version: 1, streamVersion: 1, state: { n: 1 } });
    return [anEvent('thing/x', null)];
  });
  expect(second).toMatchObject({ version: 2, events: [{ subjectVersion: 2, state: null }] });
  expect(second.before.get('thing/x')).toMatchObject({ version: 1, state: { n: 1 } });
  const third = await store.handle(request('gateway/a', 'thing/x'), () => [anEvent('thing/x', { n: 3 })]);
  expect(third.events[0]).toMatchObject({ subjectVersion: 3 });
  expect(await verifyStream(log.database.db, 'gateway/a')).toMatchObject({ ok: true, version: 3 });
});

test('several events on one subject count it on by each, and only the last state stays', async () => {
  const { store, database } = log;
  const outcome = await store.handle({ ...request('gateway/multi', 'thing/x'), subjects: ['thing/x', 'thing/y'] }, () => [
    anEvent('thing/x', { n: 1 }),
    anEvent('thing/y', { n: 1 }),
    anEvent('thing/x', { n: 2 }),
  ]);
  expect(outcome.events.map(({ subjectVersion }) => subjectVersion)).toEqual([1, 1, 2]);
  expect(await readSubject(database.db, 'gateway/multi', 'thing/x')).toMatchObject({ version: 2, streamVersion: 1, state: { n: 2 } });
});

test('a decision that finds nothing to do, or only tries, writes nothing', async () => {
  const { store } = log;
  await store.handle(request('gateway/dry', 'thing/x'), () => [anEvent('thing/x', { n: 1 })]);
  expect(await store.handle(request('gateway/dry', 'thing/x'), () => [])).toMatchObject({ version: 1, unchanged: true, events: [] });
  const tried = await store.handle(request('gateway/dry', 'thing/x', { dryRun: true }), () => [anEvent('thing/x', { n: 2 })]);
  expect(tried).toMatchObject({ version: 2, dryRun: true, events: [{ subjectVersion: 2, state: { n: 2 } }] });
  expect(await head('gateway/dry')).toBe(1);
});

test('what decide throws is what the caller gets, and nothing is written', async () => {
  const refusal = new DomainError('conflict', 'thing_exists', 'There is one.');
  await expect(
    log.store.handle(request('gateway/refuse', 'thing/x'), () => {
      throw refusal;
    }),
  ).rejects.toBe(refusal);
  expect(await head('gateway/refuse')).toBeUndefined();
});

test('a decision cannot look at or write what its request does not name', async () => {
  await expect(log.store.handle(request('gateway/b', 'thing/x'), (view) => [anEvent(view.subject('thing/y').subject, {})])).rejects.toThrow(
    'does not name',
  );
  await expect(log.store.handle(request('gateway/b', 'thing/x'), () => [anEvent('thing/y', {})])).rejects.toThrow('does not name');
});

describe('preconditions', () => {
  const stream = 'gateway/precondition';
  beforeAll(async () => {
    await log.store.handle(request(stream, 'thing/x'), () => [anEvent('thing/x', { n: 1 })]);
    await log.store.handle(request(stream, 'thing/gone'), () => [anEvent('thing/gone', { n: 1 })]);
    await log.store.handle(request(stream, 'thing/gone'), () => [anEvent('thing/gone', null)]);
  });

  test.each([
    ['an older version', { subjects: { 'thing/x': 7 } }, 1],
    ['a subject that must be absent', { subjects: { 'thing/x': 'absent' } }, 1],
    ['a subject that must exist', { subjects: { 'thing/z': 'present' } }, null],
    ['the version of a subject that ended', { subjects: { 'thing/gone': 2 } }, null],
    ['an older stream', { streamVersion: 1 }, 3],
  ] as const)('%s is refused as stale, with the current version', async (_, precondition, currentVersion) => {
    await expect(
      log.store.handle(request(stream, 'thing/x', { precondition }), () => [anEvent('thing/x', { n: 2 })]),
    ).rejects.toMatchObject({
      kind: 'stale',
      code: 'version_mismatch',
      extra: { currentVersion },
    });
  });

  test('what holds goes through', async () => {
    await log.store.handle(
      request(stream, 'thing/x', { precondition: { streamVersion: 3, subjects: { 'thing/x': 1, 'thing/new': 'absent' } } }),
      () => [anEvent('thing/x', { n: 2 })],
    );
    expect(await head(stream)).toBe(4);
  });

  test('of two writers with the same precondition one wins and the other is told', async () => {
    const results = await Promise.allSettled(
      [1, 2].map((n) =>
        log.store.handle(request(stream, 'thing/x', { precondition: { subjects: { 'thing/x': 2 } } }), () => [
          anEvent('thing/x', { winner: n }),
        ]),
      ),
    );
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(results.find((result) => result.status === 'rejected')).toMatchObject({
      reason: { code: 'version_mismatch', extra: { currentVersion: 3 } },
    });
  });
});

describe('idempotency', () => {
  const stream = 'gateway/idempotency';
  const keyed = (key: string, fingerprint = 'f1') =>
    request(stream, `thing/${key}`, { context: aContext({ idempotencyKey: key, fingerprint }) });
  const create = (key: string) => (view: { subject(name: string): { state: unknown } }) => {
    if (view.subject(`thing/${key}`).state) throw new DomainError('conflict', 'thing_exists', 'There is one.');
    return [anEvent(`thing/${key}`, { key })];
  };

  test('the same key answers the same outcome, also where the decision would now refuse', async () => {
    const first = await log.store.handle(keyed('k1'), create('k1'));
    const again = await log.store.handle(keyed('k1'), create('k1'));
    expect(again).toMatchObject({
      version: first.version,
      commandId: first.commandId,
      recordedAt: first.recordedAt,
      replayed: true,
      events: first.events,
    });
    expect([...again.before.values()]).toEqual([...first.before.values()]);
  });

  test('another request under a used key is refused', async () => {
    await log.store.handle(keyed('k2'), create('k2'));
    await expect(log.store.handle(keyed('k2', 'f2'), create('k2'))).rejects.toMatchObject({
      kind: 'invalid',
      code: 'idempotency_key_reused',
    });
  });

  test('another actor may use the same key', async () => {
    await log.store.handle(keyed('k3'), create('k3'));
    const other = await log.store.handle(
      request(stream, 'thing/k3b', { context: aContext({ actor: 'token/t2', idempotencyKey: 'k3', fingerprint: 'f1' }) }),
      create('k3b'),
    );
    expect(other.replayed).toBe(false);
  });

  test('32 at once over two processes: one version, 32 equal answers', async () => {
    const stores = [log.store, log.anotherStore()];
    const outcomes = await Promise.all(Array.from({ length: 32 }, (_, i) => stores[i % 2]!.handle(keyed('race'), create('race'))));
    expect(new Set(outcomes.map(({ version }) => version)).size).toBe(1);
    expect(outcomes.filter(({ replayed }) => !replayed)).toHaveLength(1);
  });
});

describe('claims', () => {
  const stream = 'gateway/claims';
  const claiming = (name: string, claims: string[]) =>
    log.store.handle(request(stream, `thing/${name}`), () => [anEvent(`thing/${name}`, { claims }, { claims })]);

  test('a claim has one owner until that releases it, by change or by ending', async () => {
    await claiming('a', ['/one', '/two']);
    await expect(claiming('b', ['/two'])).rejects.toMatchObject({
      kind: 'conflict',
      code: 'claim_taken',
      extra: { claim: '/two', owner: 'thing/a' },
    });
    await claiming('a', ['/one']);
    await claiming('b', ['/two']);
    await log.store.handle(request(stream, 'thing/b'), () => [anEvent('thing/b', null)]);
    await claiming('c', ['/two']);
  });

  test('a claim is any text', async () => {
    const odd = ['say "hi"', 'back\\slash', '{a,b}', 'NULL', ' space ', 'new\nline', 'é中'];
    await claiming('odd', odd);
    for (const claim of odd)
      await expect(claiming('odd-too', [claim])).rejects.toMatchObject({ code: 'claim_taken', extra: { claim, owner: 'thing/odd' } });
    await claiming('odd', []);
    await claiming('odd-too', odd);
  });

  test('one command may hand a claim over, or swap two', async () => {
    await claiming('left', ['/left']);
    await claiming('right', ['/right']);
    await log.store.handle({ ...request(stream, 'thing/left'), subjects: ['thing/left', 'thing/right'] }, () => [
      anEvent('thing/left', { n: 2 }, { claims: ['/right'] }),
      anEvent('thing/right', { n: 2 }, { claims: ['/left'] }),
    ]);
    await expect(claiming('third', ['/left'])).rejects.toMatchObject({ extra: { owner: 'thing/right' } });
  });

  test('two subjects of one command cannot hold the same claim', async () => {
    await expect(
      log.store.handle({ ...request(stream, 'thing/p'), subjects: ['thing/p', 'thing/q'] }, () => [
        anEvent('thing/p', {}, { claims: ['/same'] }),
        anEvent('thing/q', {}, { claims: ['/same'] }),
      ]),
    ).rejects.toMatchObject({ code: 'claim_taken' });
  });

  test('50 at once on one match over three processes: exactly one wins', async () => {
    const stores = [log.store, log.anotherStore(), log.anotherStore()];
    const results = await Promise.allSettled(
      Array.from({ length: 50 }, (_, i) =>
        stores[i % 3]!.handle(request(stream, `thing/race${i}`), () => [anEvent(`thing/race${i}`, { i }, { claims: ['/race'] })]),
      ),
    );
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const result of results)
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'claim_taken', extra: { claim: '/race' } });
  });
});

describe('references', () => {
  const stream = 'gateway/references';
  const put = (name: string, references: string[]) =>
    log.store.handle(request(stream, `thing/${name}`), () => [anEvent(`thing/${name}`, { name }, { references })]);
  const end = (name: string) => log.store.handle(request(stream, `thing/${name}`), () => [anEvent(`thing/${name}`, null)]);

  test('a target must live, and cannot end while it is needed', async () => {
    await expect(put('user', ['thing/target'])).rejects.toMatchObject({
      kind: 'invalid',
      code: 'reference_missing',
      extra: { subject: 'thing/target' },
    });
    await put('target', []);
    await put('user', ['thing/target']);
    await expect(end('target')).rejects.toMatchObject({
      kind: 'conflict',
      code: 'referenced',
      extra: { subject: 'thing/target', by: 'thing/user' },
    });
    await put('user', []);
    await end('target');
    await expect(put('user', ['thing/target'])).rejects.toMatchObject({ code: 'reference_missing' });
  });

  test('ending a target while 20 begin to use it leaves none without it', async () => {
    await put('contested', []);
    const stores = [log.store, log.anotherStore()];
    const results = await Promise.allSettled([
      ...Array.from({ length: 20 }, (_, i) =>
        stores[i % 2]!.handle(request(stream, `thing/user${i}`), () => [
          anEvent(`thing/user${i}`, { i }, { references: ['thing/contested'] }),
        ]),
      ),
      stores[0]!.handle(request(stream, 'thing/contested'), () => [anEvent('thing/contested', null)]),
    ]);
    const dangling = await log.asAdmin(
      'SELECT r.subject FROM chancery.reference r LEFT JOIN chancery.subject s ON s.stream = r.stream AND s.subject = r.target WHERE r.stream = $1 AND s.state IS NULL',
      [stream],
    );
    expect(dangling).toEqual([]);
    const used = results.slice(0, 20).some(({ status }) => status === 'fulfilled');
    expect(results[20]!.status).toBe(used ? 'rejected' : 'fulfilled');
  });
});
