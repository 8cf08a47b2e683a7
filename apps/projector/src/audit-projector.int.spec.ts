import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';

import { listParkedAudit, readAuditLag, readAuditProjection, resetAudit } from '#features/audit/audit.projection.js';
import { type AuditFilter, type AuditRow, listAudit } from '#features/audit/audit-trail.table.js';
import { sqlQuery } from '#platform/database/database.js';
import type { NewEvent } from '#platform/eventstore/event-store.js';
import { createWake, type Wake } from '#platform/eventstore/wake.js';
import type { JsonObject } from '#platform/kernel/json.js';

import { aContext, anEvent, type LogFixture, openLog } from '../../../test/support/log-fixture.js';
import { type AuditProjector, startAuditProjector } from './audit-projector.js';

const log = pino({ level: 'silent' });
let fixture: LogFixture;
let wake: Wake;
const running = new Set<AuditProjector>();

beforeAll(async () => {
  fixture = await openLog();
  wake = createWake(fixture.test.url);
});

afterEach(async () => {
  for (const projector of running) await projector.close();
  running.clear();
});

afterAll(async () => {
  await wake?.close();
  await fixture?.close();
});

function start(): AuditProjector {
  const projector = startAuditProjector({ database: fixture.database, wake, log, onApplied: () => undefined });
  running.add(projector);
  return projector;
}

/** Records one version of any stream. */
async function record(
  stream: string,
  events: readonly NewEvent[],
  more: Parameters<typeof aContext>[0] = {},
  details: JsonObject | null = null,
): Promise<number> {
  const subjects = [...new Set(events.map(({ subject }) => subject))];
  return (await fixture.store.handle({ stream, subjects, context: aContext(more) }, () => ({ events, details }))).version;
}

const find = (filter: AuditFilter, limit = 100) => listAudit(fixture.database.db, filter, { limit });

/** Everything in the tables but the positions' own order, which a rebuild may choose anew. */
async function rows(): Promise<unknown[]> {
  return sqlQuery(
    fixture.database.db,
    `SELECT a.stream, a.version, a.at, a.category, a.gateway, a.action, a.actor, a.result, a.code, a.status, a.count, a.command_id, a.subjects, a.subject_count, a.words::text,
            (SELECT array_agg(s.subject ORDER BY s.subject) FROM chancery.audit_subject s WHERE s.position = a.position) AS all_subjects
     FROM chancery.audit a ORDER BY a.stream, a.version`,
    [],
  );
}

async function expectWhole(): Promise<void> {
  const [numbers] = await sqlQuery<{ rows: number; last: number | null; streams: number; ordered: boolean }>(
    fixture.database.db,
    `SELECT count(*) AS rows, max(position) AS last, (SELECT sum(version) FROM chancery.audit_cursor)::bigint AS streams,
            bool_and(ordered) AS ordered FROM (SELECT position, version > lag(version, 1, 0::bigint) OVER (PARTITION BY stream ORDER BY position) AS ordered FROM chancery.audit) a`,
    [],
  );
  expect(numbers).toMatchObject({ rows: numbers?.last ?? 0, streams: numbers?.last ?? 0, ordered: true });
  expect((await readAuditProjection(fixture.database.db)).position).toBe(numbers?.last ?? 0);
}

async function until(ask: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 10_000; !(await ask()); await sleep(20))
    if (performance.now() > end) throw new Error('not within 10 s');
}

const attempt = (more: JsonObject = {}): JsonObject => ({
  method: 'POST',
  route: '/v1/gateways/:gateway/mappings/:mapping',
  gateway: 'edge',
  subject: 'mapping/secret-door',
  status: 409,
  code: 'claim_taken',
  pointers: ['/prefix'],
  requestId: 'r1',
  commandId: '00000000-0000-4000-8000-000000000001',
  dryRun: false,
  ...more,
});

describe('the projected trail', () => {
  test('has a row for every version of every stream, each with what it is searched by', async () => {
    const projector = start();
    const many = Array.from({ length: 250 }, (_, i) => anEvent(`mapping/bulk${i}`, { i }));
    await record('gateway/edge', [anEvent('mapping/user', { a: 1 }), anEvent('gateway', { b: 1 })], {
      action: 'CreateMapping',
      reason: 'Because of the Jabberwock',
    });
    await record('gateway/edge', many, { action: 'ImportConfig', actor: 'token/t2', requestId: 'req-42' });
    await record('rollout/edge', [anEvent('quarantine/q1', { why: 'bad' })], { action: 'Quarantine' });
    await record('access', [anEvent('token/abc', { id: 'abc' }, { type: 'TokenCreated' })], { action: 'CreateToken', actor: 'system' });
    await record('strange', [anEvent('thing/x', null)], { action: 'EndThing' });
    for (const [type, code] of [
      ['DeploymentProven', ''],
      ['DeploymentFailed', 'probe_failed'],
      ['DeploymentSuperseded', ''],
      ['DeploymentRefused', 'nack'],
    ] as const) {
      await record('deployments/edge', [anEvent(`deployment/${randomUUID()}`, { target: 'edge-1', code }, { type })], {
        action: 'RecordDeployment',
        actor: 'system',
      });
    }
    await record('deployments/edge', [anEvent('redeployment/r', { reason: 'again' }, { type: 'RedeploymentRequested' })], {
      action: 'RequestRedeployment',
    });
    await record('refusals', [anEvent('attempt/1', attempt(), { type: 'AttemptRefused' })], { action: 'RefuseAttempt', requestId: 'r1' });
    await record(
      'refusals',
      [anEvent('flood/token/t1/m', { counts: [] }, { type: 'AttemptsCounted' })],
      { action: 'CountRefusals', actor: 'token/t1' },
      { attempts: 17, status: 422, code: 'x' },
    );
    await projector.caughtUp();
    await expectWhole();
    expect(await readAuditLag(fixture.database.db)).toBe(0);
    const brief = (row: AuditRow | undefined) =>
      row && [row.category, row.gateway, row.result, row.code, row.status, row.count, row.subjectCount];
    const only = async (filter: AuditFilter) => (await find(filter)).map(brief);
    expect(await only({ action: 'CreateMapping' })).toEqual([['configuration', 'edge', 'accepted', null, null, 1, 2]]);
    expect(await only({ action: 'ImportConfig' })).toEqual([['configuration', 'edge', 'accepted', null, null, 1, 250]]);
    expect((await find({ action: 'ImportConfig' }))[0]?.subjects).toEqual(many.slice(0, 20).map(({ subject }) => subject));
    expect(await only({ subject: 'mapping/bulk249' })).toEqual(await only({ action: 'ImportConfig' }));
    expect(await only({ category: 'rollout' })).toEqual([['rollout', 'edge', 'accepted', null, null, 1, 1]]);
    expect(await only({ category: 'access' })).toEqual([['access', null, 'accepted', null, null, 1, 1]]);
    expect(await only({ category: 'other' })).toEqual([['other', null, 'accepted', null, null, 1, 1]]);
    expect((await only({ category: 'deployment' })).map((row) => [row?.[2], row?.[3]])).toEqual([
      ['accepted', null],
      ['refused', 'nack'],
      ['superseded', null],
      ['failed', 'probe_failed'],
      ['proven', null],
    ]);
    expect(await only({ subject: 'target/edge-1' })).toHaveLength(4);
    expect(await only({ subject: 'mapping/secret-door' })).toEqual([['refusal', 'edge', 'refused', 'claim_taken', 409, 1, 1]]);
    expect((await find({ subject: 'mapping/secret-door' }))[0]).toMatchObject({
      commandId: '00000000-0000-4000-8000-000000000001',
      requestId: 'r1',
    });
    expect(await only({ action: 'CountRefusals' })).toEqual([['refusal', null, 'refused', 'x', 422, 17, 1]]);
    for (const q of [
      'jabberwock',
      'JABBERWOCK because',
      'mapping user',
      'mapping/user',
      'create mapping',
      'createmapping',
      'req-42',
      'token/t2',
      'claim_taken secret-door',
    ])
      expect([q, (await find({ q })).length]).toEqual([q, 1]);
    expect(await find({ q: 'jabberwock bandersnatch' })).toEqual([]);
    expect(await find({ actor: 'token/t2', gateway: 'edge', category: 'configuration', result: 'accepted', q: 'import' })).toHaveLength(1);
  });

  test('is built anew with the same rows, as another generation; a stream that begins later is found', async () => {
    const projector = start();
    await projector.caughtUp();
    const [before, standing] = [await rows(), await readAuditProjection(fixture.database.db)];
    const { generation } = await fixture.database.db.transaction().execute((tx) => resetAudit(tx));
    expect(generation).toBe(standing.generation + 1);
    await projector.caughtUp();
    expect(await rows()).toEqual(before);
    await expectWhole();
    await record('gateway/later', [anEvent('mapping/a', {})]);
    await until(async () => (await find({ gateway: 'later' })).length === 1); // woken, not asked
  });

  test('two projectors at once, and many writers, give every version one row', async () => {
    const pair = [start(), start()];
    const streams = Array.from({ length: 8 }, (_, i) => `gateway/pair${i}`);
    await Promise.all(streams.flatMap((stream) => Array.from({ length: 25 }, (_, i) => record(stream, [anEvent(`mapping/m${i}`, { i })]))));
    for (const projector of pair) await projector.caughtUp();
    await expectWhole();
  });

  test('a version that cannot be projected parks its stream with the reason; the others go on, and a rebuild tries again', async () => {
    await start().caughtUp();
    const first = await record('refusals', [anEvent('attempt/good', attempt(), { type: 'AttemptRefused' })]);
    await record('refusals', [anEvent('attempt/bad', attempt({ status: 'no number' }), { type: 'AttemptRefused' })]); // planted behind the program that writes them
    await record('refusals', [anEvent('attempt/later', attempt(), { type: 'AttemptRefused' })]);
    const projector = start();
    await projector.caughtUp();
    expect(await listParkedAudit(fixture.database.db)).toEqual([
      { stream: 'refusals', version: first + 1, reason: expect.stringContaining('no number') },
    ]);
    await record('gateway/healthy', [anEvent('mapping/a', {})]);
    await projector.caughtUp();
    expect(await find({ gateway: 'healthy' })).toHaveLength(1);
    await expectWhole();
    expect(await readAuditLag(fixture.database.db)).toBe(2);
    await fixture.database.db.transaction().execute((tx) => resetAudit(tx));
    await projector.caughtUp();
    expect(await listParkedAudit(fixture.database.db)).toHaveLength(1);
    await expectWhole();
  });

  test('a failure of the moment is told, kept inside, and over when it is over', async () => {
    const told: string[] = [];
    const projector = startAuditProjector({
      database: fixture.database,
      wake,
      log: pino({ level: 'error' }, { write: (line: string) => told.push(line) }),
      onApplied: () => undefined,
    });
    running.add(projector);
    await projector.caughtUp();
    await fixture.asAdmin('ALTER TABLE chancery.audit_subject RENAME TO audit_subject_away');
    await record('gateway/moment', [anEvent('mapping/a', {})]);
    await until(async () => told.some((line) => line.includes('the trail could not be projected')));
    await fixture.asAdmin('ALTER TABLE chancery.audit_subject_away RENAME TO audit_subject');
    await projector.caughtUp();
    expect(await find({ subject: 'mapping/a', gateway: 'moment' })).toHaveLength(1);
    expect((await listParkedAudit(fixture.database.db)).map(({ stream }) => stream)).toEqual(['refusals']); // the one that the test before left
    await expectWhole();
  });
});

describe('the trail, searched', () => {
  test('is paged by position, up and down, with every filter alike', async () => {
    await start().caughtUp();
    const { db } = fixture.database;
    const all = await find({}, 1_000);
    for (const filter of [
      {},
      { category: 'configuration' },
      { actor: 'token/t1' },
      { gateway: 'pair3' },
      { q: 'mapping' },
      { subject: 'mapping/m7' },
      { since: all[40]?.at },
      { until: all[40]?.at },
    ]) {
      const whole = (await find(filter, 1_000)).map(({ position }) => position);
      const down: number[] = [];
      for (let before: number | undefined; ; ) {
        const page = await listAudit(db, filter, { before, limit: 7 });
        down.push(...page.map(({ position }) => position));
        if (page.length < 7) break;
        before = down.at(-1);
      }
      const up: number[] = [];
      for (;;) {
        const page = await listAudit(db, filter, { after: up.at(-1) ?? 0, limit: 7 });
        up.push(...page.map(({ position }) => position));
        if (page.length < 7) break;
      }
      expect([filter, whole.length > 0, down, up]).toEqual([filter, true, whole, [...whole].reverse()]);
    }
  });

  test('by time is exact, also where rows came late', async () => {
    const projector = start();
    await projector.caughtUp();
    // As if a stream had been recorded long ago and were only found now.
    await record('gateway/late', [anEvent('mapping/a', {})]);
    await projector.caughtUp();
    await fixture.asAdmin("UPDATE chancery.audit SET at = at - interval '1 hour' WHERE stream = 'gateway/late'");
    await fixture.asAdmin("UPDATE chancery.audit_projection SET skew = interval '1 hour'");
    const all = await find({}, 1_000);
    const times = all.map(({ at }) => at).sort();
    for (const at of [times[0], times[1], times[60], times.at(-1)] as string[]) {
      const since = await find({ since: at }, 1_000);
      const before = await find({ until: at }, 1_000);
      expect(since.map(({ position }) => position)).toEqual(all.filter((row) => row.at >= at).map(({ position }) => position));
      // A row's time has microseconds, of which `at` shows the milliseconds.
      expect(before.map(({ position }) => position)).toEqual(all.filter((row) => row.at < at).map(({ position }) => position));
    }
  });
});
