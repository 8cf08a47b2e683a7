import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';

import { defaultSettings, settingsToJson } from '#features/gateway/gateway.js';
import { mappingTransition } from '#features/mapping/mapping.js';
import { type Database, openDatabase, sqlQuery } from '#platform/database/database.js';
import { migrate } from '#platform/database/migrator.js';
import { EventStore } from '#platform/eventstore/event-store.js';
import { listVersions, readSubject, verifyStream } from '#platform/eventstore/read-log.js';
import { startPostgres } from '#platform/postgres/embedded-postgres.js';

import { eventually } from '../worker.fixture.js';

const main = join(import.meta.dirname, '../../../../dist/apps/worker/src/main.js');
const folder = mkdtempSync(join(tmpdir(), 'chancery-confirmations-'));
const failpoints = join(folder, 'failpoints');
const running = new Set<ChildProcess>();
let postgres: Awaited<ReturnType<typeof startPostgres>>;
let database: Database;
let events: EventStore;

beforeAll(async () => {
  mkdirSync(failpoints);
  postgres = await startPostgres({ dataDir: join(folder, 'data'), fsync: false });
  await migrate(postgres.ownerUrl);
  database = openDatabase({ url: postgres.url, applicationName: 'spec' });
  events = new EventStore({ database });
}, 60_000);
afterEach(() => {
  for (const child of running) child.kill('SIGKILL');
});
afterAll(async () => {
  await events.close();
  await database.close();
  await postgres.stop();
  rmSync(folder, { recursive: true, force: true });
});

function startWorkerProcess(): Promise<NodeJS.Signals | number | null> {
  const env = {
    PATH: process.env.PATH ?? '',
    DATABASE_URL: postgres.url,
    CHANCERY_WORKER_LISTEN: '127.0.0.1:0',
    CHANCERY_FAILPOINT_DIR: failpoints,
  };
  const child = spawn(process.execPath, [main], { env, stdio: 'ignore' });
  running.add(child);
  return new Promise((resolve) =>
    child.once('exit', (code, signal) => {
      running.delete(child);
      resolve(signal ?? code);
    }),
  );
}

async function write(gateway: string, timeoutMs: number, confirmWithinMs: number | null): Promise<number> {
  const context = { commandId: randomUUID(), action: 'Write', actor: 'token/spec', confirmWithinMs };
  const state = { name: 'user', host: '*', prefix: '/user/', path: null, service: 'usersvc', rewrite: '/', methods: [], headers: {} };
  const outcome = await events.handle({ stream: `gateway/${gateway}`, subjects: ['gateway', 'mapping/user'], context }, (view) => {
    const whole = { ...state, precedence: 0, timeoutMs, labels: {} };
    const made = mappingTransition('mapping/user', view.subject('mapping/user').state, whole);
    const first = view.subject('gateway').state === null;
    const settings = { type: 'GatewayCreated', schemaVersion: 1, subject: 'gateway', state: settingsToJson(defaultSettings) };
    return [...(first ? [settings] : []), ...(made === undefined ? [] : [made])];
  });
  return outcome.version;
}

test.each(['worker.afterExpiryBeforeRevert', 'worker.afterRevertBeforeSettled'])(
  'a worker that is killed at %s leaves the rest to the next one',
  async (point) => {
    const gateway = point.slice('worker.'.length).toLowerCase();
    await write(gateway, 1_000, null);
    await write(gateway, 2_000, 1);
    writeFileSync(join(failpoints, point), 'kill');
    expect(await startWorkerProcess()).toBe('SIGKILL');
    expect(existsSync(join(failpoints, `${point}.reached`))).toBe(true);
    const open = () => sqlQuery(database.db, 'SELECT 1 FROM chancery.confirmation WHERE settled IS NULL', []);
    expect(await open()).toHaveLength(1);

    void startWorkerProcess();
    await eventually('the next worker has settled it', async () => (await open()).length === 0);
    const { state } = await readSubject(database.db, `gateway/${gateway}`, 'mapping/user');
    expect(state).toMatchObject({ timeoutMs: 1_000 });
    const done = await listVersions(database.db, { stream: `gateway/${gateway}`, limit: 10 });
    expect(done.map(({ action }) => action)).toEqual(['RevertUnconfirmed', 'Write', 'Write']);
    const steps = await listVersions(database.db, { stream: `rollout/${gateway}`, limit: 10 });
    expect(steps.map(({ action }) => action)).toEqual(['SettleConfirmation', 'ExpireConfirmation']);
    expect(await verifyStream(database.db, `gateway/${gateway}`)).toMatchObject({ ok: true });
  },
  40_000,
);
