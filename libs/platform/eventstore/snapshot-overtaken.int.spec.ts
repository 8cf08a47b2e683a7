import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { DomainError } from '#platform/kernel/errors.js';

import { aContext, anEvent, type LogFixture, openLog } from '../../../test/support/log-fixture.js';
import type { EventStore, NewEvent } from './event-store.js';
import { readSnapshot, verifyStream } from './read-log.js';
import { type DecideOnSnapshot, handleOnSnapshot } from './snapshot-command.js';

let log: LogFixture;
beforeAll(async () => {
  log = await openLog();
});
afterAll(() => log.close(), 30_000);

const put = (store: EventStore, stream: string, subject: string, state: NewEvent['state'], more: Partial<NewEvent> = {}) =>
  store.handle({ stream, subjects: [subject], context: aContext() }, () => [anEvent(subject, state, more)]);

/** Ends everything and leaves one subject that says how much there was, and at which version. */
const sweep: DecideOnSnapshot = ({ version, subjects }) => {
  const ends = [...subjects.keys()].map((subject) => anEvent(subject, null));
  return { events: [...ends, anEvent('swept/all', { version, count: ends.length })], details: { sweptAt: version } };
};

test('a command over a whole stream goes through while three processes never stop writing to it', async () => {
  const stream = 'gateway/steady';
  const stores = [log.anotherStore(), log.anotherStore(), log.anotherStore()];
  let stopped = false;
  let written = 0;
  let enough = (): void => undefined;
  const running = new Promise<void>((resolve) => {
    enough = resolve;
  });
  const writers = stores.flatMap((store, p) =>
    Array.from({ length: 16 }, async (_, i) => {
      for (let n = 0; !stopped; n++) {
        await put(store, stream, `thing/${p}-${i}`, { n });
        if (++written === 500) enough();
      }
    }),
  );
  await running;
  const outcomes = [];
  for (let i = 0; i < 5; i++) outcomes.push(await handleOnSnapshot(log.store, { stream, context: aContext() }, sweep));
  const plan = await handleOnSnapshot(log.store, { stream, context: aContext(), dryRun: true }, sweep);
  stopped = true;
  await Promise.all(writers);
  for (const outcome of outcomes) {
    expect(outcome).toMatchObject({ unchanged: false, version: outcome.basedOn + 1, details: { sweptAt: outcome.basedOn } });
    const ended = outcome.events.filter(({ state }) => state === null);
    expect(outcome.events.at(-1)?.state).toMatchObject({ count: ended.length });
    expect(ended.every(({ subject, subjectVersion }) => outcome.before.get(subject)?.version === subjectVersion - 1)).toBe(true);
  }
  expect(plan).toMatchObject({ dryRun: true, details: { sweptAt: plan.basedOn } });
  expect(await verifyStream(log.database.db, stream)).toMatchObject({ ok: true });
}, 30_000);

test('held, it is refused as any command, answers its key once, and knows the versions of what had ended', async () => {
  const stream = 'gateway/held';
  await put(log.store, stream, 'thing/a', {}, { claims: ['one'] });
  await put(log.store, stream, 'thing/b', { b: 1 });
  await put(log.store, stream, 'thing/b', null);
  const held = (events: readonly NewEvent[], more: object = {}) =>
    log.store.handleHeld({ stream, context: aContext(), ...more }, () => ({ events, details: { why: 'held' } }));
  await expect(held([anEvent('thing/c', {}, { claims: ['one'] })])).rejects.toMatchObject({ code: 'claim_taken' });
  await expect(held([anEvent('thing/c', {}, { claims: ['one'] })], { dryRun: true })).rejects.toMatchObject({ code: 'claim_taken' });
  await expect(held([anEvent('thing/a', {})], { precondition: { subjects: { 'thing/b': 'present' } } })).rejects.toMatchObject({
    code: 'version_mismatch',
  });
  expect(await held([])).toMatchObject({ unchanged: true, version: 3 });
  expect(await held([anEvent('thing/b', { b: 2 })], { dryRun: true })).toMatchObject({ dryRun: true, basedOn: 3 });
  const context = { ...aContext(), idempotencyKey: 'held-key-1', fingerprint: 'f' };
  const first = await held([anEvent('thing/b', { b: 2 })], { context });
  expect(first).toMatchObject({ version: 4, details: { why: 'held' }, events: [{ subject: 'thing/b', subjectVersion: 3 }] });
  expect(await held([anEvent('thing/b', { b: 3 })], { context: { ...context, commandId: aContext().commandId } })).toMatchObject({
    replayed: true,
    version: 4,
  });
  // Sent twice, the second may find that nothing is left to do: the answer is the first one's all the same.
  expect(await held([], { context: { ...context, commandId: aContext().commandId } })).toMatchObject({ replayed: true, version: 4 });
  expect((await readSnapshot(log.database.db, stream)).subjects.map(({ subject }) => subject)).toEqual(['thing/a', 'thing/b']);
  await put(log.store, stream, 'thing/d', {}); // nobody is held back any more
  expect(await verifyStream(log.database.db, stream)).toMatchObject({ ok: true, version: 5 });
});

test('what is thrown while it holds lets the others go on', async () => {
  const stream = 'gateway/thrown';
  await put(log.store, stream, 'thing/a', {});
  const fail = () => {
    throw new Error('a timeout of something else');
  };
  await expect(log.store.handleHeld({ stream, context: aContext() }, fail)).rejects.toThrow();
  expect((await put(log.store, stream, 'thing/a', { n: 1 })).version).toBe(2);
});

test('a request sent twice is answered once, although its twin was recorded after the first look for it and refuses it now', async () => {
  const stream = 'gateway/twins';
  await put(log.store, stream, 'thing/a', {});
  const request = () => ({
    stream,
    context: { ...aContext(), idempotencyKey: 'twin-key-1', fingerprint: 'f' },
    precondition: { streamVersion: 1 },
  });
  const twin = () => handleOnSnapshot(log.anotherStore(), request(), sweep);
  const looksEarly: DecideOnSnapshot = async (snapshot) => {
    await twin();
    return sweep(snapshot); // pinned to version 1, which is not the head any more
  };
  const outcome = await handleOnSnapshot(log.store, request(), looksEarly);
  expect(outcome).toMatchObject({ version: 2, replayed: true, details: { sweptAt: 1 } });
  const other = { ...request(), context: aContext() };
  await expect(handleOnSnapshot(log.store, other, sweep)).rejects.toMatchObject({ code: 'version_mismatch' });
  const late: DecideOnSnapshot = async () => {
    await handleOnSnapshot(log.anotherStore(), { ...again, context: { ...again.context, commandId: aContext().commandId } }, sweep);
    throw new DomainError('conflict', 'refused_by_its_twin', 'What the twin did stands in the way.');
  };
  const again = { stream, context: { ...aContext(), idempotencyKey: 'twin-key-2', fingerprint: 'f' } };
  expect(await handleOnSnapshot(log.store, again, late)).toMatchObject({ version: 3, replayed: true });
});
