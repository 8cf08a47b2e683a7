import { request as httpRequest } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';

import { writeDesired } from '#features/promotion/desired.table.js';
import { sqlQuery } from '#platform/database/database.js';
import { contentHash } from '#platform/kernel/digest.js';

import { startTestApi, type TestApi } from './test-api.js';

const g = '/v1/gateways/default';

describe('is it live yet, over HTTP', () => {
  let test: TestApi;
  beforeAll(async () => {
    test = await startTestApi();
    await test.ask('POST', `${g}/mappings`, { body: { name: 'user', prefix: '/user/', service: 'usersvc' } }); // version 2
    await test.ask('POST', `${g}/mappings`, { body: { name: 'order', prefix: '/order/', service: 'ordersvc' } }); // version 3
  });
  afterAll(() => test.close());

  const sql = (text: string, values: readonly unknown[] = []) => sqlQuery(test.api.database.db, text, values);
  beforeEach(async () => {
    await sql(`DELETE FROM chancery.deployment`);
    await sql(`DELETE FROM chancery.mapping_status`);
    await sql(`DELETE FROM chancery.target`);
  });

  /** What a worker writes. */
  const enrol = (name: string, proven: number, state = 'enrolled') =>
    sql(`INSERT INTO chancery.target (name, gateway, proven_version, applied_version, state) VALUES ($1, 'default', $2, $2, $3)`, [
      name,
      proven,
      state,
    ]);
  const prove = (name: string, version: number) =>
    sql(`UPDATE chancery.target SET proven_version = $2, applied_version = $2 WHERE name = $1`, [name, version]);
  const end = (version: number, state: string, code: string, detail: string) =>
    sql(
      `INSERT INTO chancery.deployment (id, gateway, target, version, trigger, state, code, detail, finished_at)
       VALUES (gen_random_uuid(), 'default', 'edge-1', $1, 'change', $2, $3, $4, clock_timestamp())`,
      [version, state, code, detail],
    );
  const propagation = async (version: number, query = '') => (await test.ask('GET', `${g}/versions/${version}/propagation${query}`)).json;
  const took = async <T>(work: Promise<T>): Promise<[T, number]> => {
    const start = performance.now();
    return [await work, performance.now() - start];
  };

  it('says where each target is', async () => {
    await enrol('edge-1', 2);
    await enrol('edge-2', 3);
    await enrol('edge-3', 1, 'away');
    await enrol('edge-4', 1, 'retired');
    expect(await propagation(2)).toEqual({
      version: 2,
      state: 'live',
      satisfied: true,
      targets: [
        expect.objectContaining({ name: 'edge-1', state: 'live', desiredVersion: 3, provenVersion: 2, supersededBy: null, mappings: [] }),
        expect.objectContaining({ name: 'edge-2', state: 'superseded', supersededBy: 3 }),
        expect.objectContaining({ name: 'edge-3', state: 'away' }),
      ],
    });
    expect(await propagation(3)).toMatchObject({ state: 'pending', satisfied: false });
    const schema = test.api.descriptions.find(({ url }) => url.endsWith('/propagation'))?.description?.answers[200];
    if (typeof schema === 'string' || schema === undefined) throw new Error('the answer has no schema');
    const answer = await propagation(2);
    expect(schema.parse(answer)).toEqual(answer);
  });

  it('says what is kept back, by which wave, freeze or pin', async () => {
    await enrol('edge-1', 2);
    await enrol('edge-2', 2);
    const plan = (because: 'frozen' | 'released', pinned = new Map()) => ({
      ...{ gateway: 'default', wave: null, hold: null, strategy: 'manual', followed: 1, head: 3 },
      plan: { base: { version: 2, because, record: 'why' }, overrides: pinned },
    });
    await writeDesired(
      test.api.database.db,
      plan('frozen', new Map([['edge-2', { version: 2, because: 'pinned', record: 'old kernel' }]])),
    );
    expect(await propagation(3)).toMatchObject({
      state: 'held',
      satisfied: false,
      targets: [
        { state: 'frozen', desiredVersion: 2 },
        { state: 'pinned', reason: { code: 'target_pinned', message: 'old kernel' } },
      ],
    });
    expect((await test.ask('GET', `${g}/targets`)).json.items).toMatchObject([{ desiredVersion: 2 }, { desiredVersion: 2 }]);
    await writeDesired(test.api.database.db, plan('released'));
    expect(await propagation(3)).toMatchObject({ state: 'held', targets: [{ reason: { code: 'awaits_promotion' } }, { state: 'held' }] });
    const older = { ...plan('frozen'), followed: 0 };
    await writeDesired(test.api.database.db, older); // by a worker that is behind: it changes nothing
    expect(await propagation(3)).toMatchObject({ targets: [{ reason: { code: 'awaits_promotion' } }, {}] });
    await sql(`DELETE FROM chancery.desired`);
    expect(await propagation(3)).toMatchObject({ state: 'pending', targets: [{ desiredVersion: 3 }, {}] });
  });

  it('says why a target refused it', async () => {
    await enrol('edge-1', 2);
    await end(3, 'failed', 'child_died', 'its parent died');
    expect(await propagation(3, '?wait=30s')).toMatchObject({
      state: 'refused',
      satisfied: false,
      targets: [{ state: 'refused', reason: { code: 'child_died', message: 'its parent died' } }],
    });
    expect(await propagation(2)).toMatchObject({ state: 'live' });
  });

  it('names the mappings that are set aside, and is refused for its own', async () => {
    await enrol('edge-1', 3);
    const { json } = await test.ask('GET', `${g}/versions/3`);
    await sql(
      `INSERT INTO chancery.mapping_status (gateway, mapping, digest, state, code, reason) VALUES ('default', 'order', $1, 'set_aside', 'envoy_refused', 'bad route')`,
      [contentHash(json.events[0].after ?? json.events[0].state)],
    );
    const mappings = [{ name: 'order', code: 'envoy_refused', message: 'bad route' }];
    expect(await propagation(3, '?wait=30s')).toMatchObject({ state: 'refused', targets: [{ state: 'refused', mappings }] });
    expect(await propagation(2)).toMatchObject({ state: 'live', targets: [{ state: 'superseded', mappings: [] }] });
    const later = await test.ask('PATCH', `${g}/mappings/user`, {
      body: { precedence: 1 },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
    const version = Number(later.headers['chancery-version']);
    await prove('edge-1', version);
    expect(await propagation(version)).toMatchObject({ state: 'live', targets: [{ state: 'live', mappings }] });
  });

  it('answers a waiting request as soon as the last target has proven it', async () => {
    await enrol('edge-1', 1);
    await enrol('edge-2', 1);
    const waiting = took(propagation(2, '?wait=30s'));
    await prove('edge-1', 2);
    expect(await propagation(2)).toMatchObject({ state: 'pending', targets: [{ state: 'live' }, { state: 'pending' }] });
    await prove('edge-2', 3);
    const [answer, ms] = await waiting;
    expect(answer).toMatchObject({ state: 'live', satisfied: true, targets: [{ state: 'live' }, { state: 'superseded' }] });
    expect(ms).toBeLessThan(10_000);
  }, 20_000);

  it('answers a waiting request as soon as one refuses', async () => {
    await enrol('edge-1', 1);
    const waiting = propagation(2, '?wait=1m');
    await end(2, 'refused', 'agent_refused', 'no room');
    expect(await waiting).toMatchObject({ state: 'refused', targets: [{ reason: { code: 'agent_refused' } }] });
  }, 20_000);

  it('answers with what there is when the time is up', async () => {
    await enrol('edge-1', 1);
    const [answer, ms] = await took(propagation(2, '?wait=400ms'));
    expect(answer).toMatchObject({ state: 'pending', satisfied: false });
    expect(ms).toBeGreaterThanOrEqual(390);
    expect(await propagation(2, '?wait=0s')).toMatchObject({ state: 'pending' });
  });

  it('refuses what is no version and no time', async () => {
    const status = async (path: string) => {
      const { status, json } = await test.ask('GET', path);
      return [status, json.code, json.errors?.[0]?.pointer];
    };
    for (const version of ['0', '-1', 'x', '1.5', '999', '99999999999999999999'])
      expect(await status(`${g}/versions/${version}/propagation`)).toEqual([404, 'version_not_found', undefined]);
    expect((await test.ask('GET', `${g}/versions/999/propagation`)).json.currentVersion).toBeGreaterThan(2);
    expect(await status('/v1/gateways/nowhere/versions/1/propagation')).toEqual([404, 'gateway_not_found', undefined]);
    for (const wait of ['61s', '2m', '60001ms', '30', 's', '-1s', '1h', '', '1s&wait=2s'])
      expect(await status(`${g}/versions/2/propagation?wait=${wait}`)).toEqual([400, 'query_invalid', '/wait']);
    expect((await test.ask('GET', `${g}/versions/2/propagation`, { token: null })).status).toBe(401);
  });

  it('reads the rows once for all who wait, and not at all for those who left', async () => {
    await enrol('edge-1', 1);
    let reads = 0;
    const count = () => {
      reads += 1;
    };
    await propagation(2);
    const asked = Array.from({ length: 40 }, () => {
      const url = new URL(`${g}/versions/2/propagation?wait=60s`, test.api.url);
      const outgoing = httpRequest(url, { headers: { authorization: `Bearer ${test.token}` } });
      outgoing.on('error', () => undefined); // it is cut off below
      outgoing.end();
      return outgoing;
    });
    await propagation(2, '?wait=1s'); // by its end all of them wait
    test.api.database.pool.on('acquire', count);
    await propagation(2, '?wait=1s');
    expect(reads).toBeGreaterThan(10);
    expect(reads).toBeLessThan(45); // 11 looks of two statements, and what one request needs beside them; 40 that each look make 800
    for (const outgoing of asked) outgoing.destroy();
    for (let before = -1; before !== reads; await sleep(500)) before = reads; // ends only when half a second passes without a look
    test.api.database.pool.off('acquire', count);
  }, 30_000);

  it('answers those who wait when the process ends', async () => {
    await enrol('edge-1', 1);
    const waiting = took(propagation(2, '?wait=60s'));
    await propagation(2, '?wait=300ms');
    const [, closedMs] = await took(test.api.close());
    const [answer] = await waiting;
    expect(answer).toMatchObject({ state: 'pending' });
    expect(closedMs).toBeLessThan(4_000); // well below the time that a kept connection would be waited for
  }, 20_000);
});
