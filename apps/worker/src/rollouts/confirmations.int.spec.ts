import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';

import { gatewayKind } from '#features/gateway/gateway.kind.js';
import { SubjectKinds } from '#features/history/subject-kind.js';
import { mappingKind } from '#features/mapping/mapping.kind.js';
import { ConfirmVersion, ConfirmVersionHandler } from '#features/restore/confirm-version.js';
import { listConfirmations, listOverdue } from '#features/restore/confirmation.table.js';
import { quarantineId, quarantineState } from '#features/restore/quarantine.js';
import { settleConfirmation } from '#features/restore/settle-confirmation.js';
import { openDatabase, sqlQuery } from '#platform/database/database.js';
import { EventStore, type NewEvent } from '#platform/eventstore/event-store.js';
import { listVersions, readSubject, readVersion, verifyStream } from '#platform/eventstore/read-log.js';
import { useFailpoints } from '#platform/failpoint/failpoint.js';
import { contentHash } from '#platform/kernel/digest.js';
import type { JsonObject } from '#platform/kernel/json.js';
import { createLog } from '#platform/log/log.js';

import { eventually, WorkerFixture } from '../worker.fixture.js';

const kinds = new SubjectKinds([gatewayKind, mappingKind(new Set())]);
let fixture: WorkerFixture;
let failpoints: string;
beforeEach(async () => {
  failpoints = mkdtempSync(join(tmpdir(), 'chancery-failpoints-'));
  useFailpoints(failpoints);
  fixture = await WorkerFixture.open();
});
afterEach(async () => {
  useFailpoints(undefined);
  await fixture.close();
  rmSync(failpoints, { recursive: true, force: true });
});

const mapping = (name: string, more: object = {}): JsonObject => ({
  name,
  host: '*',
  prefix: `/${name}/`,
  path: null,
  service: 'usersvc',
  rewrite: '/',
  methods: [],
  headers: {},
  precedence: 0,
  timeoutMs: 3_000,
  labels: {},
  ...more,
});
let commands = 0;
const commandId = () => `00000000-0000-4000-8000-${String(++commands).padStart(12, '0')}`;

/** One version with these mappings as they will be; undone unless it is confirmed within `confirmMs`. Answers its number. */
async function write(states: Readonly<Record<string, JsonObject | null>>, confirmMs: number | null = null): Promise<number> {
  const subjects = Object.keys(states).map((name) => `mapping/${name}`);
  const outcome = await fixture.events.handle(
    {
      stream: 'gateway/default',
      subjects,
      context: { commandId: commandId(), action: 'Write', actor: 'token/spec', confirmWithinMs: confirmMs },
    },
    (view) => {
      const event = (subject: string, state: JsonObject | null): NewEvent[] => {
        const made = mappingKind(new Set()).transition(subject, view.subject(subject).state, state);
        return made === undefined ? [] : [made];
      };
      return Object.entries(states).flatMap(([name, state]) => event(`mapping/${name}`, state));
    },
  );
  return outcome.version;
}

const state = async (name: string) => (await readSubject(fixture.database.db, 'gateway/default', `mapping/${name}`)).state;
const rows = () => listConfirmations(fixture.database.db, { gateway: 'default', before: undefined, state: undefined, limit: 100 });
const settled = async () => (await rows()).every((row) => row.state !== 'open' && row.settledAt !== null) && (await unsettled()) === 0;
const unsettled = async () => (await fixture.query('SELECT 1 FROM chancery.confirmation WHERE settled IS NULL')).length;
const actions = async (stream: string) =>
  (await listVersions(fixture.database.db, { stream, limit: 1_000 })).map(({ action }) => action).reverse();
const isOverdue = async () => (await listOverdue(fixture.database.db, 100)).length > 0;
const confirm = (version: number, events = fixture.events) =>
  new ConfirmVersionHandler(events, fixture.database.db, createLog({ process: 'spec', level: 'silent' })).execute(
    new ConfirmVersion('default', version, { context: { commandId: commandId(), actor: 'token/spec' }, dryRun: false }),
  );

/** The log is whole, and each version that asked to be confirmed has exactly one end. */
async function checkWhole(): Promise<void> {
  for (const stream of ['gateway/default', 'rollout/default'])
    expect(await verifyStream(fixture.database.db, stream)).toMatchObject({ ok: true });
  const ends = await fixture.query<{ n: number }>(
    `SELECT count(*) AS n FROM chancery.event WHERE stream = 'rollout/default' AND type IN ('VersionConfirmed', 'ConfirmationExpired') GROUP BY subject`,
  );
  expect(ends.every(({ n }) => n === 1)).toBe(true);
}

describe('a version that nobody confirms', () => {
  test('is undone by a worker that starts after its deadline', async () => {
    await write({ user: mapping('user') }); // 2
    await write({ user: mapping('user', { timeoutMs: 1 }), late: mapping('late') }, 1); // 3
    await eventually('the deadline has passed', isOverdue);
    expect(await state('user')).toMatchObject({ timeoutMs: 1 });
    await fixture.startWorker('w1');
    await eventually('it is undone', settled);
    expect(await state('user')).toEqual(mapping('user'));
    expect(await state('late')).toBeNull();
    expect(await rows()).toMatchObject([{ version: 3, state: 'reverted', revertVersion: 4, conflicts: [] }]);
    expect(await readVersion(fixture.database.db, 'gateway/default', 4)).toMatchObject({
      action: 'RevertUnconfirmed',
      actor: 'system',
      reason: expect.stringMatching(/^Not confirmed by 2/),
      details: { version: 3, conflicts: [] },
      eventCount: 2,
    });
    expect(await actions('rollout/default')).toEqual(['ExpireConfirmation', 'SettleConfirmation']);
    await checkWhole();
  });

  test('stays when it is confirmed, before the worker and with a note that was lost', async () => {
    const version = await write({ user: mapping('user') }, 60_000);
    await confirm(version);
    const owner = openDatabase({ url: fixture.test.ownerUrl, applicationName: 'spec' }); // the application cannot move a deadline
    await sqlQuery(owner.db, 'UPDATE chancery.confirmation SET settled = NULL, deadline = clock_timestamp()', []);
    await owner.close();
    await fixture.startWorker('w1');
    await eventually('it is noted', async () => (await unsettled()) === 0);
    expect(await rows()).toMatchObject([{ version, state: 'confirmed', confirmedBy: 'token/spec' }]);
    expect(await state('user')).not.toBeNull();
    expect(await actions('rollout/default')).toEqual(['ConfirmVersion']);
    await expect(confirm(version)).resolves.toMatchObject({ unchanged: true });
  });

  test('is undone once by three workers', async () => {
    for (let i = 0; i < 20; i++) await write({ [`m${i}`]: mapping(`m${i}`) }, 1);
    await eventually('the deadlines have passed', isOverdue);
    await Promise.all(['w1', 'w2', 'w3'].map((name) => fixture.startWorker(name)));
    await eventually('all are undone', settled);
    expect((await actions('gateway/default')).filter((action) => action === 'RevertUnconfirmed')).toHaveLength(20);
    expect((await rows()).every(({ state: is, revertVersion }) => is === 'reverted' && revertVersion !== null)).toBe(true);
    await checkWhole();
  }, 30_000);

  test('is undone but for what has become something else, which is left and said', async () => {
    await write({ a: mapping('a'), b: mapping('b'), gone: mapping('gone') }); // 2
    const version = await write(
      { a: mapping('a', { timeoutMs: 1, labels: { x: '1' } }), b: mapping('b', { timeoutMs: 1 }), gone: null },
      1,
    ); // 3
    await write({ a: mapping('a', { timeoutMs: 2, labels: { x: '1' } }) }); // 4
    await write({ heir: mapping('heir', { prefix: '/gone/' }) }); // 5
    await eventually('the deadline has passed', isOverdue);
    await fixture.startWorker('w1');
    await eventually('it is settled', settled);
    const conflicts = [
      { subject: 'mapping/a', pointer: '/timeoutMs', laterVersion: 4, message: expect.any(String) },
      { subject: 'mapping/gone', pointer: '', laterVersion: 5, message: expect.stringMatching(/mapping\/heir/) },
    ];
    expect(await rows()).toMatchObject([{ version, state: 'conflicted', revertVersion: 6, conflicts }]);
    expect((await readVersion(fixture.database.db, 'gateway/default', 6))?.details).toEqual({ version, conflicts });
    expect(await state('a')).toMatchObject({ timeoutMs: 2, labels: { x: '1' } }); // a subject is undone as a whole or not at all
    expect(await state('b')).toEqual(mapping('b'));
    expect(await state('gone')).toBeNull();
    await expect(confirm(version)).rejects.toMatchObject({ code: 'confirmation_expired' });
  });

  test('does not bring back what is under quarantine', async () => {
    await write({ user: mapping('user') }); // 2
    const version = await write({ user: mapping('user', { timeoutMs: 1 }) }, 1); // 3
    const digest = contentHash(mapping('user'));
    const id = quarantineId({ subject: 'mapping/user', digest });
    await fixture.events.handle(
      {
        stream: 'rollout/default',
        subjects: [`quarantine/${id}`],
        context: { commandId: commandId(), action: 'QuarantineState', actor: 'token/spec' },
      },
      quarantineState({ id, subject: 'mapping/user', digest, reason: 'eats requests', gatewayVersion: 2, quarantinedBy: 'token/spec' }),
    );
    await eventually('the deadline has passed', isOverdue);
    await fixture.startWorker('w1');
    await eventually('it is settled', settled);
    expect(await rows()).toMatchObject([
      {
        version,
        state: 'conflicted',
        revertVersion: null,
        conflicts: [{ subject: 'mapping/user', message: expect.stringMatching(/quarantine .*: eats requests/) }],
      },
    ]);
    expect(await state('user')).toMatchObject({ timeoutMs: 1 });
  });

  test('that a rollback has undone already needs no version; one that was rolled back to is undone where it came back', async () => {
    await write({ user: mapping('user') }); // 2
    const first = await write({ user: mapping('user', { timeoutMs: 1 }) }, 1); // 3
    await write({ user: mapping('user') }); // 4: as a rollback to 2
    await eventually('the deadline has passed', isOverdue);
    await fixture.startWorker('w1');
    await eventually('it is settled', settled);
    expect(await rows()).toMatchObject([{ version: first, state: 'reverted', revertVersion: null, conflicts: [] }]);
    expect(await actions('gateway/default')).toHaveLength(4);
    const rollback = await write({ user: mapping('user', { timeoutMs: 1 }) }, 1); // 5: as a rollback to 3 that nobody confirms
    await eventually('it is settled too', settled);
    expect((await rows())[0]).toMatchObject({ version: rollback, state: 'reverted', revertVersion: 6 });
    expect(await state('user')).toEqual(mapping('user'));
  });

  test('is no creation of a gateway: that stays', async () => {
    await fixture.events.handle(
      {
        stream: 'gateway/second',
        subjects: ['gateway'],
        context: { commandId: commandId(), action: 'CreateGateway', actor: 'token/spec', confirmWithinMs: 1 },
      },
      () => [{ type: 'GatewayCreated', schemaVersion: 1, subject: 'gateway', state: {} }],
    );
    await fixture.startWorker('w1');
    await eventually('it is settled', async () => (await unsettled()) === 0);
    const [row] = await listConfirmations(fixture.database.db, { gateway: 'second', before: undefined, state: undefined, limit: 1 });
    expect(row).toMatchObject({ version: 1, state: 'conflicted', revertVersion: null, conflicts: [{ subject: 'gateway', pointer: '' }] });
  });
});

describe('broken off', () => {
  test.each(['worker.afterExpiryBeforeRevert', 'worker.afterRevertBeforeSettled'])(
    'at %s, it is brought to its end by another',
    async (point) => {
      await write({ user: mapping('user') }); // 2
      const version = await write({ user: mapping('user', { timeoutMs: 1 }) }, 1); // 3
      await eventually('the deadline has passed', isOverdue);
      writeFileSync(join(failpoints, point), 'throw');
      const world = { db: fixture.database.db, events: fixture.events, kinds };
      const [awaited] = await listOverdue(fixture.database.db, 1);
      if (awaited === undefined) throw new Error('nothing is overdue');
      await expect(settleConfirmation(world, awaited)).rejects.toThrow(point);
      await expect(confirm(version)).rejects.toMatchObject({ code: 'confirmation_expired' });
      // Somebody brings the change back before anyone goes on: what was undone already is not undone once more.
      const broughtBack = point === 'worker.afterRevertBeforeSettled';
      if (broughtBack) await write({ user: mapping('user', { timeoutMs: 1 }) }); // 5
      await fixture.startWorker('w1');
      await eventually('it is settled', settled);
      expect(await rows()).toMatchObject([{ version, state: 'reverted', revertVersion: 4 }]);
      expect(await state('user')).toEqual(mapping('user', broughtBack ? { timeoutMs: 1 } : {}));
      expect((await actions('gateway/default')).filter((action) => action === 'RevertUnconfirmed')).toHaveLength(1);
      expect(await actions('rollout/default')).toEqual(['ExpireConfirmation', 'SettleConfirmation']);
      await checkWhole();
    },
  );

  test('by a database that goes away, it is tried again', async () => {
    const cut =
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'chancery-worker'";
    await write({ user: mapping('user') }, 1);
    await fixture.startWorker('w1');
    let looks = 0;
    await eventually('it is undone', async () => {
      looks += 1;
      if (looks <= 40) await fixture.query(cut); // for as long as several rounds of the worker
      return looks > 40 && (await settled());
    });
    expect(await state('user')).toBeNull();
    await checkWhole();
  });
});

describe('a confirmation and the expiry at the same moment', () => {
  test('have exactly one outcome each, fifty times', async () => {
    const other = openDatabase({ url: fixture.test.url, applicationName: 'spec-other' });
    const apiStore = new EventStore({ database: other });
    try {
      const outcomes = { confirmed: 0, reverted: 0 };
      for (let i = 0; i < 50; i++) {
        const name = `m${i}`;
        const version = await write({ [name]: mapping(name) }, 60_000);
        const world = { db: fixture.database.db, events: fixture.events, kinds };
        const awaited = { gateway: 'default', version, deadline: '2026-11-25T12:00:00.000Z' };
        const settle = async () => {
          for (let n = 0; n < i % 5; n++) await isOverdue(); // from none to four reads behind the confirmation, which makes one itself
          return settleConfirmation(world, awaited);
        };
        const [confirmed, ended] = await Promise.allSettled([confirm(version, apiStore), settle()]);
        if (ended.status !== 'fulfilled') throw ended.reason;
        const how = ended.value as 'confirmed' | 'reverted';
        outcomes[how] += 1;
        expect(confirmed.status).toBe(how === 'confirmed' ? 'fulfilled' : 'rejected');
        if (confirmed.status === 'rejected') expect(confirmed.reason).toMatchObject({ code: 'confirmation_expired' });
        expect((await state(name)) === null).toBe(how === 'reverted');
        expect((await rows())[0]).toMatchObject({ version, state: how });
      }
      expect(outcomes.confirmed + outcomes.reverted).toBe(50);
      expect(Math.min(outcomes.confirmed, outcomes.reverted)).toBeGreaterThan(0);
      await checkWhole();
    } finally {
      await apiStore.close();
      await other.close();
    }
  }, 30_000);
});
