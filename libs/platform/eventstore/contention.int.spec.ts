import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { DomainError } from '#platform/kernel/errors.js';

import { aContext, anEvent, type LogFixture, openLog } from '../../../test/support/log-fixture.js';
import { stateAt, verifyStream } from './read-log.js';

let log: LogFixture;
beforeAll(async () => {
  log = await openLog();
});
afterAll(() => log.close(), 30_000);

interface EventRow {
  version: string;
  subject: string;
  subject_version: string;
  state: unknown;
}

/** A generator with a printed seed (mulberry32): the run can be repeated. */
function random(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** The state of a stream at a version by the slow and obvious road: all events from the first, in order. */
function fold(events: readonly EventRow[], version: number): Map<string, { version: number; state: unknown }> {
  const subjects = new Map<string, { version: number; state: unknown }>();
  for (const event of events) {
    if (Number(event.version) > version) break;
    if (event.state === null) subjects.delete(event.subject);
    else subjects.set(event.subject, { version: Number(event.subject_version), state: event.state });
  }
  return subjects;
}

test('64 callers in 8 processes on 40 hot subjects: every acknowledged command once, gapless, chained, and any version can be read back', async () => {
  const stream = 'gateway/contention';
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
  const next = random(seed);
  process.stderr.write(`contention seed ${seed}\n`);
  const stores = Array.from({ length: 8 }, () => log.anotherStore({ maxConnections: 3 }));
  const acknowledged: { version: number; subject: string; token: string }[] = [];
  const refusals: Record<string, number> = {};
  let counter = 0;

  await Promise.all(
    Array.from({ length: 64 }, async (_, caller) => {
      const store = stores[caller % stores.length]!;
      for (let i = 0; i < 25; i++) {
        const subject = `thing/${Math.floor(next() * 40)}`;
        const token = `${caller}-${i}-${counter++}`;
        const claims = next() < 0.3 ? [`claim-${Math.floor(next() * 10)}`] : [];
        const ends = next() < 0.15;
        const precondition = next() < 0.2 ? { subjects: { [subject]: Math.ceil(next() * 20) } } : undefined;
        try {
          const outcome = await store.handle(
            { stream, subjects: [subject], context: aContext(), ...(precondition ? { precondition } : {}) },
            (view) => {
              if (!ends) return [anEvent(subject, { token }, { claims })];
              return view.subject(subject).state === null ? [] : [anEvent(subject, null)];
            },
          );
          if (!outcome.unchanged) acknowledged.push({ version: outcome.version, subject, token: ends ? '' : token });
        } catch (error) {
          if (!(error instanceof DomainError)) throw error;
          refusals[error.code] = (refusals[error.code] ?? 0) + 1;
        }
      }
    }),
  );

  const events = await log.asAdmin<EventRow>(
    'SELECT version, subject, subject_version, state FROM chancery.event WHERE stream = $1 ORDER BY version, position',
    [stream],
  );
  const versions = acknowledged.map(({ version }) => version).sort((a, b) => a - b);
  expect(versions).toEqual(Array.from({ length: versions.length }, (_, i) => i + 1)); // gapless, none twice, none unacknowledged
  expect(versions.length).toBeGreaterThan(500);
  expect(Object.keys(refusals).sort()).toEqual(['claim_taken', 'version_mismatch']);
  expect(events.map(({ version }) => Number(version))).toEqual(versions);
  for (const { version, subject, token } of acknowledged) {
    expect(events[version - 1]).toMatchObject({ subject, state: token ? { token } : null });
  }
  expect(await verifyStream(log.database.db, stream)).toMatchObject({ ok: true, version: versions.length });

  const perSubject = new Map<string, number>();
  for (const event of events) {
    expect(Number(event.subject_version)).toBe((perSubject.get(event.subject) ?? 0) + 1);
    perSubject.set(event.subject, Number(event.subject_version));
  }
  for (const version of [0, 1, 2, 57, versions.length >> 1, versions.length - 1, versions.length]) {
    const stored = new Map(
      (await stateAt(log.database.db, stream, version)).map((record) => [record.subject, { version: record.version, state: record.state }]),
    );
    expect(Object.fromEntries(stored)).toEqual(Object.fromEntries(fold(events, version)));
  }

  // Claims are those of the living subjects: one owner each, and none left by a subject that ended.
  const orphans = await log.asAdmin(
    'SELECT c.claim FROM chancery.claim c LEFT JOIN chancery.subject s USING (stream, subject) WHERE c.stream = $1 AND s.state IS NULL',
    [stream],
  );
  expect(orphans).toEqual([]);
}, 60_000);

test('64 callers that each add one to the same number lose no addition', async () => {
  const stream = 'gateway/counter';
  const stores = Array.from({ length: 4 }, () => log.anotherStore({ maxConnections: 3 }));
  const results = await Promise.allSettled(
    Array.from({ length: 64 }, (_, i) =>
      stores[i % 4]!.handle({ stream, subjects: ['thing/counter'], context: aContext() }, (view) => [
        anEvent('thing/counter', { n: Number(view.subject('thing/counter').state?.n ?? 0) + 1 }),
      ]),
    ),
  );
  const done = results.filter(({ status }) => status === 'fulfilled').length;
  for (const result of results) if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'contended' });
  expect(done).toBe(64);
  const [record] = await stateAt(log.database.db, stream, 1_000);
  expect(record).toMatchObject({ state: { n: done }, version: done });
}, 30_000);

test('callers that come together share commits', async () => {
  const stream = 'gateway/shared';
  await Promise.all(
    Array.from({ length: 200 }, (_, i) =>
      log.store.handle({ stream, subjects: [`thing/${i}`], context: aContext() }, () => [
        anEvent(`thing/${i}`, { i }, { claims: [`${i}`] }),
      ]),
    ),
  );
  const [row] = await log.asAdmin<{ commits: string; versions: string }>(
    'SELECT count(DISTINCT xmin::text) AS commits, count(*) AS versions FROM chancery.version WHERE stream = $1',
    [stream],
  );
  expect(Number(row!.versions)).toBe(200);
  expect(Number(row!.commits)).toBeLessThanOrEqual(20); // 200 / 32, and some
});

test('commands of several streams run beside each other, each stream gapless', async () => {
  const streams = Array.from({ length: 12 }, (_, i) => `gateway/many${i}`);
  await Promise.all(
    streams.flatMap((stream) =>
      Array.from({ length: 10 }, (_, i) =>
        log.store.handle({ stream, subjects: [`thing/${i}`], context: aContext() }, () => [anEvent(`thing/${i}`, { i })]),
      ),
    ),
  );
  for (const stream of streams) expect(await verifyStream(log.database.db, stream)).toMatchObject({ ok: true, version: 10 });
});
