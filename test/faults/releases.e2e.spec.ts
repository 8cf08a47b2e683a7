import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, expect, jest, test } from '@jest/globals';

import { sqlQuery } from '#platform/database/database.js';

import { checkLog } from '../crash/log-invariants.js';
import { describeWhere } from '../support/describe-where.js';
import { send } from '../support/dev-harness.js';
import { FaultHouse } from './fault-house.js';
import { type HouseProcess, type Release, thisRelease } from './house-process.js';
import { lacksPreviousRelease, makePreviousRelease } from './previous-release.js';

jest.setTimeout(240_000);

let house: FaultHouse;
let previous: ReturnType<typeof makePreviousRelease>;
afterEach(() => house?.close());

/** Aims a node at a worker. One that is connected elsewhere is cut off there, as when a pod of the Service is replaced. */
function move(node: string, worker: number): void {
  const { line } = house.node(node);
  line.aim(() => house.worker(worker).port);
  line.set('cut');
  line.set('pass');
}

/** Another agent for a node's Envoy, which serves on meanwhile. */
async function replaceAgent(node: string, release: Release): Promise<void> {
  const { agent } = house.node(node);
  await agent?.kill('SIGTERM');
  await house.node(node).startAgent({}, release).ready();
}

/** Writes through each of these in turn, with writes of something else through the others at the same time; every node has the last one. */
async function writeThrough(...apis: readonly HouseProcess[]): Promise<void> {
  for (const [i, api] of apis.entries()) {
    house.speakTo(api);
    const other = apis[(i + 1) % apis.length] ?? api;
    const beside = house.writeBeside(other, `beside-${i}`);
    await Promise.all([house.write(), beside]);
  }
  await house.converged(house.revision);
}

/** Everything that the projector makes, once it has caught up. */
async function projected(): Promise<unknown> {
  const { db } = house.database;
  await house.until('the projector has caught up', async () => {
    const behind = await sqlQuery(
      db,
      `SELECT s.stream FROM chancery.stream s LEFT JOIN chancery.route_projection r ON s.stream = 'gateway/' || r.gateway
         LEFT JOIN chancery.audit_cursor a ON a.stream = s.stream
        WHERE a.version IS DISTINCT FROM s.version OR (s.stream LIKE 'gateway/%' AND r.version IS DISTINCT FROM s.version)`,
      [],
    );
    return behind.length === 0;
  });
  const read = (text: string) => sqlQuery(db, text, []);
  return {
    routes: await read('SELECT to_jsonb(r) AS route FROM chancery.route r ORDER BY gateway, mapping'),
    trail: await read(
      `SELECT to_jsonb(a) - '{position,latest_at}'::text[] AS entry FROM chancery.audit a ORDER BY stream, version, action`,
    ),
  };
}

/** What the targets have proven, the log, the trail and the route tables; ends the workers, so that nothing more is recorded meanwhile. */
async function expectAllInOrder(): Promise<void> {
  const { version } = (await house.must('', {})).json as { version: number };
  const states: string[] = [];
  for (let one = 1; one <= version; one++) {
    const { json } = await house.must(`/versions/${one}/propagation?wait=10s`, {});
    states.push(...(json as { targets: { state: string }[] }).targets.map(({ state }) => state));
  }
  expect(new Set(states)).toEqual(new Set(['live', 'superseded']));
  for (const { process } of house.workers) await process.kill('SIGTERM');
  const { json } = await house.must('/v1/audit/verification?mode=full', {});
  expect(json).toMatchObject({ ok: true });
  const made = await projected();
  expect(await checkLog(house.database.url, [])).toEqual([]);
  const gaps = `SELECT position FROM (SELECT position, row_number() OVER (ORDER BY position) AS n FROM chancery.audit) a WHERE position <> n`;
  expect(await sqlQuery(house.database.db, gaps, [])).toEqual([]);
  await house.rebuildProjections();
  expect(await projected()).toEqual(made);
}

/** What each process says to whoever asks whether it is ready. */
async function readiness(ready: Readonly<Record<string, string>>): Promise<Readonly<Record<string, number>>> {
  const asked = Object.entries(ready).map(async ([name, url]) => [name, (await send(`${url}/readyz`)).status] as const);
  return Object.fromEntries(await Promise.all(asked));
}

/** Every field of the agent's stream: `Message.number` with its name and type. */
function messageFields({ folder }: Release): ReadonlyMap<string, string> {
  const text = readFileSync(join(folder, 'libs/platform/xds/proto/delivery.proto'), 'utf8').replace(/\/\/.*$/gm, '');
  const fields = new Map<string, string>();
  let message = '';
  for (const [, opened, type, name, number] of text.matchAll(/message (\w+)|((?:repeated |optional )?[\w.]+|map<[^>]+>) (\w+) = (\d+);/g)) {
    message = opened ?? message;
    if (name !== undefined) fields.set(`${message}.${number}`, `${type} ${name}`);
  }
  return fields;
}

test('F33: this release begins and goes on with a schema that is ahead of it, and says that it cannot where that needs a newer one', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'chancery-ahead-'));
  try {
    house = await FaultHouse.start({ nodes: [], workers: 0 });
    cpSync(join(thisRelease.folder, 'migrations'), folder, { recursive: true });
    writeFileSync(join(folder, '900001.sql'), 'ALTER TABLE chancery.subject ADD COLUMN of_the_next_release text;');
    expect(await house.migrate(folder)).toEqual(['900001.sql']);
    const [api, worker, projector] = await Promise.all([
      house.startApi(),
      house.startWorker({ CHANCERY_WORKER_METRICS_LISTEN: '127.0.0.1:0' }),
      house.startProjector(),
    ]);
    const asked = {
      api: String(api.said('ready')?.api),
      worker: `http://127.0.0.1:${worker.process.said('ready')?.metrics}`,
      projector: String(projector.said('ready')?.metrics).replace(/\/metrics$/, ''),
    };
    await house.write();
    await house.until('all are ready', async () => Object.values(await readiness(asked)).every((status) => status === 200));
    writeFileSync(join(folder, '900002.sql'), '-- needs 900001\nALTER TABLE chancery.subject DROP COLUMN of_the_next_release;');
    expect(await house.migrate(folder)).toEqual(['900002.sql']);
    expect(await readiness(asked)).toEqual({ api: 503, worker: 503, projector: 503 });
    await house.write(); // not ready is for balancers: what can be done still is
  } finally {
    rmSync(folder, { recursive: true });
  }
});

describeWhere(lacksPreviousRelease(), 'F33: two releases side by side', () => {
  beforeAll(() => {
    previous = makePreviousRelease();
  });
  afterAll(() => previous?.dispose());

  test('what its agents and workers say to each other still means the same', () => {
    const now = messageFields(thisRelease);
    expect(now.size).toBeGreaterThan(100);
    const changed = [...messageFields(previous)].filter(([field, form]) => now.get(field) !== form);
    expect(changed).toEqual([]);
  });

  test('from the one to the other and back, process by process, under load', async () => {
    house = await FaultHouse.start({ release: previous, nodes: ['a', 'b'] });
    const old = { api: house.api, worker: house.worker(0).process, projector: await house.startProjector() };
    house.startTraffic();
    await writeThrough(old.api);
    await house.fault('the schema is migrated under everything of the release before', async () => {
      const writing = writeThrough(old.api, old.api, old.api);
      expect((await house.migrate()).length).toBeGreaterThan(0);
      await writing;
    });
    await house.fault('each process is replaced by one of the newer release', async () => {
      const [api, projector] = await Promise.all([house.startApi(thisRelease), house.startProjector(thisRelease)]);
      await house.startWorker({}, thisRelease); // number 1
      await writeThrough(old.api, api);
      await old.projector.kill('SIGTERM'); // the new one has stood by, and takes over
      await replaceAgent('b', thisRelease); // with the old worker
      await writeThrough(api, old.api);
      move('a', 1); // the old agent, with the new worker
      await writeThrough(old.api, api);
      await old.worker.kill('SIGTERM');
      move('b', 1);
      await old.api.kill('SIGTERM');
      await replaceAgent('a', thisRelease);
      await writeThrough(api);
      await projector.kill('SIGTERM'); // and back: everything of the release before begins on the newer schema
    });
    await house.fault('each process is replaced by one of the release before', async () => {
      const { api } = house;
      await replaceAgent('a', previous); // with the newer worker
      const [back] = await Promise.all([house.startApi(previous), house.startProjector(previous)]);
      await writeThrough(api, back);
      await house.startWorker({}, previous); // number 2
      move('b', 2); // the newer agent, with the old worker
      await writeThrough(back, api);
      await house.worker(1).process.kill('SIGTERM');
      move('a', 2);
      await replaceAgent('b', previous);
      await api.kill('SIGTERM');
      await writeThrough(back);
    });
    const { violations, checked } = await house.finish();
    expect(violations).toEqual([]);
    expect(checked).toMatchObject({ I6: 2 });
    expect(checked.I8).toBeGreaterThan(500);
    await expectAllInOrder();
  });
});
