import { hostname } from 'node:os';

import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

import { sqlQuery } from '#platform/database/database.js';

import { startTestApi, type TestApi } from './test-api.js';

const self = {
  hostname: hostname(),
  resolvedname: expect.stringMatching(/^[0-9a-f.:]+$/),
  version: expect.stringMatching(/^\d+\.\d+\.\d+/),
};
const fingerprint = 'AB:'.repeat(31).concat('AB');

describe("the first Ambassador's REST, generation 1", () => {
  let test: TestApi;
  beforeAll(async () => {
    test = await startTestApi();
  });
  afterAll(() => test.close());

  it('GET /ambassador/health answers without a token', async () => {
    const answer = await test.ask('GET', '/ambassador/health', { token: null });
    expect([answer.status, answer.json]).toEqual([200, { ok: true, ...self, msg: 'ambassador health check OK' }]);
  });

  it('walks through: post, list, second service, delete', async () => {
    const first = await test.ask('POST', '/ambassador/mapping/user', { body: { prefix: '/user/', service: 'usersvc' } });
    expect(first.status).toBe(200);
    expect(first.json).toMatchObject({ ok: true, ...self, name: 'user' });
    const one = await test.ask('GET', '/ambassador/mappings');
    expect(one.json).toMatchObject({
      ok: true,
      ...self,
      count: 1,
      mappings: [{ name: 'user', prefix: '/user/', rewrite: '/', service: 'usersvc' }],
    });
    expect(Object.keys(one.json.mappings[0]).sort()).toEqual(['name', 'prefix', 'rewrite', 'service']);
    await test.ask('POST', '/ambassador/mapping/grue', { body: { prefix: '/grue/', service: 'gruesvc', rewrite: '/grue/' } });
    const two = await test.ask('GET', '/ambassador/mappings');
    expect(two.json.mappings.map((mapping: { name: string }) => mapping.name)).toEqual(['grue', 'user']);
    expect((await test.ask('GET', '/ambassador/mapping/grue')).json).toMatchObject({
      ok: true,
      name: 'grue',
      prefix: '/grue/',
      rewrite: '/grue/',
      service: 'gruesvc',
    });
    expect((await test.ask('DELETE', '/ambassador/mapping/user')).json).toMatchObject({
      ok: true,
      ...self,
      name: 'user',
      deleted: 1,
      modules_deleted: 0,
    });
    expect((await test.ask('GET', '/ambassador/mapping/user')).status).toBe(404);
  });

  it('replaces a mapping of the same name, one version each, and none when nothing changes', async () => {
    const post = (service: string) => test.ask('POST', '/ambassador/mapping/again', { body: { prefix: '/again/', service } });
    const versions = [await post('a'), await post('b'), await post('b')].map((answer) => Number(answer.headers['chancery-version']));
    expect(versions[1]).toBe((versions[0] ?? 0) + 1);
    expect(versions[2]).toBe(versions[1]);
    expect((await test.ask('GET', '/ambassador/mapping/again')).json.service).toBe('b');
  });

  it('says ok to deleting what is not there', async () => {
    const before = await test.countEvents();
    const answer = await test.ask('DELETE', '/ambassador/mapping/nobody');
    expect([answer.status, answer.json]).toMatchObject([200, { ok: true, name: 'nobody', deleted: 0, modules_deleted: 0 }]);
    expect(await test.countEvents()).toBe(before);
  });

  it('PUT /ambassador/mappings asks for one redeployment of the current version', async () => {
    const answer = await test.ask('PUT', '/ambassador/mappings');
    expect([answer.status, answer.json]).toEqual([200, { ok: true, ...self, msg: 'reconfigure requested' }]);
    const asked = await test.ask('GET', '/v1/gateways/default/redeployments');
    expect(asked.json.items).toMatchObject([{ reason: 'reconfigure requested', force: false, targets: null }]);
  });

  it('keeps principals', async () => {
    const put = await test.ask('POST', '/ambassador/principal/alice', { body: { fingerprint } });
    expect([put.status, put.json]).toEqual([200, { ok: true, ...self, name: 'alice' }]);
    expect((await test.ask('GET', '/ambassador/principals')).json).toEqual({
      ok: true,
      ...self,
      count: 1,
      principals: [{ name: 'alice', fingerprint }],
    });
    expect((await test.ask('GET', '/ambassador/principal/alice')).json).toEqual({ ok: true, ...self, name: 'alice', fingerprint });
    expect((await test.ask('GET', '/v1/certs/list/approved')).json).toEqual({
      ok: true,
      ...self,
      certificates: [{ fingerprint_sha256: 'ab'.repeat(32) }],
    });
    expect((await test.ask('PUT', '/ambassador/principals')).json).toMatchObject({ ok: true, msg: 'reconfigure requested' });
    const same = await test.ask('POST', '/ambassador/principal/bob', { body: { fingerprint: 'ab'.repeat(32) } });
    expect([same.status, same.json.ok, same.json.code]).toEqual([409, false, 'claim_taken']);
    expect((await test.ask('DELETE', '/ambassador/principal/alice')).json).toEqual({ ok: true, ...self, name: 'alice', deleted: 1 });
    expect((await test.ask('DELETE', '/ambassador/principal/alice')).json).toMatchObject({ ok: true, deleted: 0 });
    expect((await test.ask('GET', '/ambassador/principal/alice')).status).toBe(404);
    expect((await test.ask('GET', '/v1/certs/list/approved')).json.certificates).toEqual([]);
  });

  it.each([
    ['short', {}, 400, 'missing_field', '/fingerprint'],
    ['number', { fingerprint: 7 }, 400, 'wrong_type', '/fingerprint'],
    ['sha1', { fingerprint: 'ab'.repeat(20) }, 422, 'fingerprint_invalid', '/fingerprint'],
    ['text', { fingerprint: 'x'.repeat(64) }, 422, 'fingerprint_invalid', '/fingerprint'],
    ['-bad', { fingerprint: 'ab'.repeat(32) }, 422, 'name_invalid', ''],
  ])('refuses the principal %s', async (name, body, status, code, pointer) => {
    const answer = await test.ask('POST', `/ambassador/principal/${name}`, { body: body as never });
    expect([answer.status, answer.json.ok, answer.json.code, answer.json.errors[0].pointer]).toEqual([status, false, code, pointer]);
  });

  it('GET /ambassador/stats counts per mapping, summed over the fleet, right for names with dots', async () => {
    await test.ask('POST', '/ambassador/mapping/st.at-1', { body: { prefix: '/stat/', service: 'usersvc:8080' } });
    const counts = { healthyMembers: 1, totalMembers: 2, rq2xx: 10, rq3xx: 1, rq4xx: 2, rq5xx: 3, rqTotal: 16 };
    for (const target of ['a', 'b']) {
      await sqlQuery(
        test.api.database.db,
        `INSERT INTO chancery.target_stats (gateway, target, at, mappings, envoy) VALUES ('default', $1, now(), $2, '{"server.live": 1}')`,
        [target, JSON.stringify({ 'st.at-1': counts, gone: counts })],
      );
    }
    const { json } = await test.ask('GET', '/ambassador/stats');
    expect(Object.keys(json).sort()).toEqual(['envoy', 'last_attempt', 'last_update', 'mappings', 'update_errors']);
    expect(json.mappings['st.at-1']).toEqual({
      healthy_members: 2,
      total_members: 4,
      healthy_percent: 50,
      update_attempts: 0,
      update_successes: 0,
      update_percent: null,
      upstream_ok: 22,
      upstream_4xx: 4,
      upstream_5xx: 6,
      upstream_bad: 10,
    });
    expect(json.mappings.gone).toBeUndefined();
    expect(json.mappings.grue).toMatchObject({ total_members: 0, healthy_percent: null, upstream_ok: 0 });
    expect(json.envoy).toEqual({ 'server.live': 2 });
  });

  it('has limits: a name of 64, the rest of 2048 characters', async () => {
    const post = (name: string, prefix: string) =>
      test.ask('POST', `/ambassador/mapping/${name}`, { body: { prefix, service: 'usersvc' } });
    expect((await post('n'.repeat(64), '/limit1/')).status).toBe(200);
    expect((await post('n'.repeat(65), '/limit2/')).status).toBe(422);
    expect((await post('limit3', `/${'p'.repeat(2047)}`)).status).toBe(200);
    expect((await post('limit4', `/${'p'.repeat(2048)}`)).status).toBe(422);
  });
});

describe('generation 2', () => {
  let test: TestApi;
  beforeAll(async () => {
    test = await startTestApi();
  });
  afterAll(() => test.close());

  it('PUT creates or replaces, the old forms carry a hint, the list has modules and the longest prefix first', async () => {
    const put = await test.ask('PUT', '/ambassador/mapping/root', { body: { prefix: '/', service: 'root' } });
    expect([put.status, put.json.ok, put.json.name, put.json.deprecated]).toEqual([200, true, 'root', undefined]);
    const post = await test.ask('POST', '/ambassador/mapping/user', { body: { prefix: '/user/', service: 'usersvc' } });
    expect(post.json.deprecated).toBe('use PUT /ambassador/mapping/user');
    await test.ask('PUT', '/ambassador/mapping/deep', { body: { prefix: '/user/deep/', service: 'usersvc' } });
    const list = await test.ask('GET', '/ambassador/mapping');
    expect(list.json).toMatchObject({ ok: true, count: 3 });
    expect(list.json.mappings).toEqual([
      { name: 'deep', prefix: '/user/deep/', rewrite: '/', service: 'usersvc', modules: {} },
      { name: 'user', prefix: '/user/', rewrite: '/', service: 'usersvc', modules: {} },
      { name: 'root', prefix: '/', rewrite: '/', service: 'root', modules: {} },
    ]);
    expect((await test.ask('GET', '/ambassador/mappings')).json.deprecated).toBe('use GET /ambassador/mapping');
  });
});

describe('what the original got wrong', () => {
  let test: TestApi;
  beforeAll(async () => {
    test = await startTestApi();
  });
  afterAll(() => test.close());
  const post = (name: string, body: object) => test.ask('POST', `/ambassador/mapping/${name}`, { body: body as never });

  it('1: a failure has a failing status, the same envelope, and no internals', async () => {
    const answers = [
      await post('bad', { prefix: 'no-slash', service: 'a' }),
      await post('bad', { service: 'a' }),
      await test.ask('GET', '/ambassador/mapping/none'),
    ];
    expect(answers.map((answer) => answer.status)).toEqual([422, 400, 404]);
    for (const { json, headers } of answers) {
      expect(json).toMatchObject({ ok: false, ...self, error: expect.any(String), code: expect.any(String) });
      expect(headers['content-type']).toMatch(/^application\/json/);
    }
    expect((await test.ask('GET', '/ambassador/nothing-here')).json).toMatchObject({ ok: false, code: 'route_unknown' });
    expect((await test.ask('PATCH', '/ambassador/mapping/x')).headers.allow).toBe('DELETE, GET, HEAD, POST, PUT');
    expect((await test.ask('GET', '/ambassador/mappings', { token: null })).json).toMatchObject({ ok: false, code: 'token_missing' });
  });

  it('4: one accepted change is one version, so it can make at most one restart', async () => {
    const before = await test.countEvents();
    await post('four', { prefix: '/four/', service: 'usersvc' });
    expect((await test.countEvents()) - before).toBe(1);
  });

  it('5: deleting the last mapping leaves none', async () => {
    await test.ask('DELETE', '/ambassador/mapping/four');
    expect((await test.ask('GET', '/ambassador/mappings')).json).toMatchObject({ count: 0, mappings: [] });
  });

  it('6: a refused mapping does not stand in the way of the next', async () => {
    expect((await post('six', { prefix: '/six/\u0000', service: 'usersvc' })).status).toBe(422);
    expect((await post('six', { prefix: '/six/', service: 'usersvc' })).status).toBe(200);
  });

  it('7: a quote in a prefix is refused or kept as a quote, never configuration', async () => {
    const answer = await post('seven', { prefix: '/seven","evil":"', service: 'usersvc' });
    if (answer.status === 200) expect((await test.ask('GET', '/ambassador/mapping/seven')).json.prefix).toBe('/seven","evil":"');
    else expect(answer.status).toBe(422);
  });

  it('8, 9: an unknown service is accepted with a warning, in the answer and in the status', async () => {
    const answer = await post('eight', { prefix: '/eight/', service: 'nobody-knows-it' });
    expect(answer.json).toMatchObject({ ok: true, warnings: [{ code: 'unverified_service' }] });
    await sqlQuery(
      test.api.database.db,
      `INSERT INTO chancery.mapping_status (gateway, mapping, digest, state, code, reason, since) VALUES ('default', 'eight', 'd', 'unresolved', 'no_endpoints', 'none known', now())`,
      [],
    );
    const read = await test.ask('GET', '/v1/gateways/default/mappings/eight');
    expect(read.json.status).toMatchObject({ state: 'unresolved', reasons: [{ code: 'no_endpoints', message: 'none known' }] });
    expect(read.headers.etag).toBe('"1-unresolved"');
  });

  it('11, 12: what one client does wrong leaves the others and the health as they were', async () => {
    await Promise.all(Array.from({ length: 50 }, (_, i) => post(`wrong${i}`, { prefix: i, service: null })));
    expect((await post('eleven', { prefix: '/eleven/', service: 'usersvc' })).status).toBe(200);
    expect((await test.ask('GET', '/readyz')).status).toBe(200);
  });

  it('15-18: everything but the health wants a token, by Bearer or by Basic', async () => {
    for (const path of [
      '/ambassador/mappings',
      '/ambassador/mapping',
      '/ambassador/stats',
      '/ambassador/principals',
      '/v1/certs/list/approved',
    ]) {
      expect([path, (await test.ask('GET', path, { token: null })).status]).toEqual([path, 401]);
      const authorization = `Basic ${Buffer.from(`x:${test.token}`).toString('base64')}`;
      expect([path, (await test.ask('GET', path, { token: null, headers: { authorization } })).status]).toEqual([path, 200]);
    }
  });

  it('29: every change is a version with its actor', async () => {
    await post('history', { prefix: '/history/', service: 'usersvc' });
    const { json } = await test.ask('GET', '/v1/gateways/default/versions?subject=mapping/history');
    expect(json.items).toMatchObject([{ action: 'UpdateMapping', actor: expect.stringMatching(/^token\/[0-9a-f]{16}$/), eventCount: 1 }]);
  });
});

describe('CHANCERY_AMBASSADOR_STATUS=200', () => {
  let test: TestApi;
  beforeAll(async () => {
    test = await startTestApi({ CHANCERY_AMBASSADOR_STATUS: '200' });
  });
  afterAll(() => test.close());

  it('gives old clients their 200, but never to a stranger, and never under /v1', async () => {
    const answer = await test.ask('POST', '/ambassador/mapping/bad', { body: { prefix: 'x', service: 'a' } });
    expect([answer.status, answer.json.ok, typeof answer.json.error]).toEqual([200, false, 'string']);
    expect((await test.ask('GET', '/ambassador/mapping/none')).status).toBe(200);
    expect((await test.ask('GET', '/ambassador/mappings', { token: null })).status).toBe(401);
    expect((await test.ask('GET', '/v1/gateways/default/mappings/none')).status).toBe(404);
  });
});
