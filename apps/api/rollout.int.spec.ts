import { request as httpRequest } from 'node:http';

import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

import { projectRoutes } from '#features/mapping/mapping.projection.js';
import { sqlQuery } from '#platform/database/database.js';
import { readVersion } from '#platform/eventstore/read-log.js';

import { startTestApi, type TestApi } from './test-api.js';

const g = '/v1/gateways/default';
const id = '0191e9a0-0000-7000-8000-00000000000a';

describe('the rollout over HTTP', () => {
  let test: TestApi;
  beforeAll(async () => {
    test = await startTestApi();
  });
  afterAll(() => test.close());

  const sql = (text: string) => sqlQuery(test.api.database.db, text, []);

  /** The events of a stream as they come; `onEvent` is called with each. */
  const watch = (
    path: string,
    onEvent: (data: { state: string }, count: number) => void,
  ): Promise<{ type: string; events: { state: string }[] }> =>
    new Promise((resolve, reject) => {
      const url = new URL(path, test.api.url);
      const headers = { authorization: `Bearer ${test.token}`, accept: 'text/event-stream' };
      const outgoing = httpRequest(url, { headers, timeout: 15_000 }, (incoming) => {
        const events: { state: string }[] = [];
        let rest = '';
        incoming.on('data', (chunk) => {
          rest += chunk;
          for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n')) {
            const data = /^data: (.*)$/m.exec(rest.slice(0, end))?.[1];
            rest = rest.slice(end + 2);
            if (data === undefined) continue;
            events.push(JSON.parse(data));
            onEvent(JSON.parse(data), events.length);
          }
        });
        incoming.on('end', () => resolve({ type: incoming.headers['content-type'] ?? '', events }));
        incoming.on('error', reject);
      });
      outgoing.on('error', reject);
      outgoing.end();
    });

  it('says live only when every enrolled target has proven the version', async () => {
    await test.ask('POST', `${g}/mappings`, { body: { name: 'user', prefix: '/user/', service: 'usersvc' } }); // version 2
    await sql(
      `INSERT INTO chancery.target (name, gateway, proven_version) VALUES ('edge-1', 'default', 2), ('edge-2', 'default', 1), ('edge-3', 'default', 0)`,
    );
    await sql(`UPDATE chancery.target SET state = 'away' WHERE name = 'edge-3'`);
    const state = async () => (await test.ask('GET', `${g}/mappings/user`)).json.status;
    expect(await state()).toMatchObject({ state: 'pending', reasons: [{ code: 'not_proven' }] });
    await sql(`UPDATE chancery.target SET proven_version = 2 WHERE name = 'edge-2'`);
    expect(await state()).toEqual({ state: 'live', reasons: [] });
    expect((await test.ask('GET', `${g}/mappings/user`)).headers.etag).toBe('"1"');
    expect((await test.ask('GET', `${g}/mappings?status=live`)).json.items).toHaveLength(1);
    const targets = await test.ask('GET', `${g}/targets`);
    expect(targets.json.items).toMatchObject([
      { name: 'edge-1', state: 'enrolled', desiredVersion: 2, provenVersion: 2 },
      { name: 'edge-2' },
      { name: 'edge-3', state: 'away' },
    ]);
  });

  it('shows what was set aside, with the reason', async () => {
    await sql(
      `INSERT INTO chancery.mapping_status (gateway, mapping, digest, state, code, reason, since) VALUES ('default', 'user', 'd', 'set_aside', 'envoy_refused', 'bad route', now())`,
    );
    const read = await test.ask('GET', `${g}/mappings/user`);
    expect(read.json.status).toMatchObject({ state: 'set_aside', reasons: [{ code: 'envoy_refused', message: 'bad route' }] });
    expect((await test.ask('GET', `${g}/mappings?status=set_aside`)).json.items).toMatchObject([{ name: 'user' }]);
    expect((await test.ask('GET', `${g}/mappings?status=live`)).json.items).toEqual([]);
    await sql(`DELETE FROM chancery.mapping_status`);
  });

  it('shows the route table in the order in which a request asks it, a page at a time', async () => {
    await test.ask('POST', `${g}/mappings`, { body: { name: 'root', prefix: '/', service: 'root' } });
    await test.ask('POST', `${g}/mappings`, {
      body: { name: 'host', host: 'a.example', prefix: '/', service: 'root', labels: { team: 'a' } },
    });
    const versions = await Promise.all([1, 2, 3, 4].map((version) => readVersion(test.api.database.db, 'gateway/default', version)));
    await projectRoutes(
      test.api.database.db,
      'default',
      versions.flatMap((version) => version ?? []),
    );
    const all = await test.ask('GET', `${g}/routes`);
    expect(all.headers['chancery-version']).toBe('4');
    expect(all.json.items.map((row: { order: number; mapping: string }) => [row.order, row.mapping])).toEqual([
      [0, 'host'],
      [1, 'user'],
      [2, 'root'],
    ]);
    const first = await test.ask('GET', `${g}/routes?limit=2`);
    const next = await test.ask('GET', /<(.*?)>/.exec(first.headers.link ?? '')?.[1] ?? '');
    expect(next.json).toMatchObject({ items: [{ mapping: 'root', order: 2 }], next: null });
    expect((await test.ask('GET', `${g}/routes?label=team%3Da`)).json.items).toMatchObject([{ mapping: 'host' }]);
    const row = test.api.descriptions.find(({ url }) => url.endsWith('/routes'))?.description?.answers[200];
    if (typeof row === 'string' || row === undefined) throw new Error('the route table has no schema');
    expect(row.parse(all.json)).toEqual(all.json);
  });

  it('takes a redeployment with 202, once per key', async () => {
    const ask = () =>
      test.ask('POST', `${g}/redeployments`, { body: { reason: 'again' }, headers: { 'idempotency-key': 'redeploy-0001' } });
    const [first, second] = [await ask(), await ask()];
    expect([first.status, second.status]).toEqual([202, 202]);
    expect(second.headers.location).toBe(first.headers.location);
    expect(second.json).toEqual(first.json);
    expect((await test.ask('GET', first.headers.location ?? '')).json).toMatchObject({ reason: 'again', force: false, targets: null });
    expect((await test.ask('POST', `${g}/redeployments`, { body: {} })).json).toMatchObject({
      status: 400,
      errors: [{ pointer: '/reason' }],
    });
    expect((await test.ask('POST', `${g}/redeployments`, { raw: '' })).status).toBe(400);
  });

  it('streams a deployment while it runs, and ends with it', async () => {
    await sql(`INSERT INTO chancery.deployment (id, gateway, target, version, trigger) VALUES ('${id}', 'default', 'edge-1', 2, 'change')`);
    const seen = await watch(`${g}/deployments/${id}`, (_deployment, count) => {
      if (count === 1) void sql(`UPDATE chancery.deployment SET epoch_to = 1 WHERE id = '${id}'`);
      if (count === 2) void sql(`UPDATE chancery.deployment SET state = 'proven', finished_at = now() WHERE id = '${id}'`);
    });
    expect(seen.type).toMatch(/^text\/event-stream/);
    expect(seen.events.map((deployment) => deployment.state)).toEqual(['running', 'running', 'proven']);
    const read = await test.ask('GET', `${g}/deployments/${id}`);
    expect(read.json).toEqual(seen.events.at(-1));
    expect((await test.ask('GET', `/v1/gateways/default/deployments/${id.replace('a', 'b')}`)).status).toBe(404);
    expect((await test.ask('GET', `${g}/deployments?target=edge-1&state=proven`)).json.items).toHaveLength(1);
    expect((await test.ask('GET', `${g}/deployments?target=edge-2`)).json.items).toEqual([]);
  }, 20_000);

  it('ends its streams when the process ends', async () => {
    const other = id.replace('a', 'c');
    await sql(
      `INSERT INTO chancery.deployment (id, gateway, target, version, trigger) VALUES ('${other}', 'default', 'edge-1', 2, 'change')`,
    );
    let closed: Promise<void> | undefined;
    const start = performance.now();
    const seen = await watch(`${g}/deployments/${other}`, () => {
      closed = test.api.close();
    });
    await closed;
    expect(seen.events).toHaveLength(1);
    expect(performance.now() - start).toBeLessThan(5_000);
  }, 20_000);
});
