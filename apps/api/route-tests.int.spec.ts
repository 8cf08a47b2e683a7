import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

import type { Json } from '#platform/kernel/json.js';

import { startTestApi, type TestApi } from './test-api.js';

let test: TestApi;
beforeAll(async () => {
  test = await startTestApi();
});
afterAll(() => test.close());

/** A gateway of its own, with what can be done to it. */
async function newGateway(name: string) {
  expect((await test.ask('POST', '/v1/gateways', { body: { name } })).status).toBe(201);
  const g = `/v1/gateways/${name}`;
  const put = (mapping: string, fields: { readonly [key: string]: Json }, query = '') =>
    test.ask('PUT', `${g}/mappings/${mapping}${query}`, { body: { service: 'usersvc', ...fields } });
  const test_ = (of: string, url: string, expect_: { readonly [key: string]: Json }, query = '') =>
    test.ask('PUT', `${g}/route-tests/${of}${query}`, { body: { request: { method: 'GET', url }, expect: expect_ } });
  const explain = (body: Json) => test.ask('POST', `${g}/explain`, { body });
  const head = async () => Number((await test.ask('GET', `${g}/versions?limit=1`)).json.items[0].version);
  return { g, put, test: test_, explain, head };
}

describe('explain', () => {
  it('says who gets a request, what was made of it, and why the others do not', async () => {
    const { put, explain, g } = await newGateway('explained');
    await put('user', { prefix: '/user/', rewrite: '/u/', timeoutMs: 1234 });
    await put('wide', { prefix: '/' });
    await put('post', { prefix: '/user/', methods: ['POST'] });
    await put('canary', { prefix: '/user/', headers: { 'x-canary': '1' } });
    await put('shop', { host: 'shop.example.com', prefix: '/user/' });
    const { status, json, headers } = await explain({ method: 'GET', url: 'http://API.example.com.:8080//user/./x?q=1' });
    expect(status).toBe(200);
    expect(headers['chancery-version']).toBe('6');
    expect(json).toMatchObject({
      version: 6,
      request: { method: 'GET', host: 'api.example.com', path: '/user/x', query: '?q=1' },
      answered: null,
      matched: { mapping: 'user', rewrittenPath: '/u/x?q=1', upstream: 'http://usersvc:80', timeoutMs: 1234, status: null },
      leftOut: 0,
    });
    expect(json.normalisation.map(({ rule }: { rule: string }) => rule)).toEqual([
      'host_case',
      'host_port',
      'host_trailing_dot',
      'query',
      'dot_segments',
      'merge_slashes',
    ]);
    const rules = Object.fromEntries(json.losers.map(({ mapping, rule }: { mapping: string; rule: string }) => [mapping, rule]));
    expect(rules).toEqual({ wide: 'order_longer_match', post: 'method', canary: 'header', shop: 'host' });
    expect(json.losers.map(({ mapping }: { mapping: string }) => mapping)[0]).toBe('wide');
    const past = await explain({ method: 'GET', url: '/user/x', version: 1 });
    expect(past.json).toMatchObject({ version: 1, matched: null, summary: expect.stringContaining('404') });
    const beyond = await explain({ method: 'GET', url: '/user/x', version: 99 });
    expect([beyond.status, beyond.json.code]).toEqual([404, 'version_not_found']);
    expect((await test.ask('POST', `${g}x/explain`, { body: { method: 'GET', url: '/' } })).status).toBe(404);
  });

  it('says what the gateway answers by itself, and who is nearest when nobody gets it', async () => {
    const { put, explain } = await newGateway('refused');
    await put('user', { prefix: '/user/' });
    expect((await explain({ method: 'GET', url: '/user/a%2Fb' })).json).toMatchObject({ answered: { status: 400, code: 'escaped_slash' } });
    expect((await explain({ method: 'GET', url: '/.well-known/chancery/marker' })).json).toMatchObject({
      answered: { status: 404, code: 'path_reserved' },
      matched: null,
    });
    const none = (await explain({ method: 'GET', url: 'http://h/usr/x' })).json;
    expect(none.summary).toBe('No mapping matches: 404. The nearest is user: The path /usr/x does not start with /user/.');
    const bad = await explain({ method: 'GE T', url: 'ftp://x', headers: { 'a b': '1' } });
    expect([bad.status, bad.json.errors.map(({ pointer }: { pointer: string }) => pointer)]).toEqual([
      422,
      ['/method', '/url', '/headers/a b'],
    ]);
  });

  it('follows every write at once', async () => {
    const { put, explain, g } = await newGateway('followed');
    for (let round = 0; round < 5; round++) {
      await put('m', { prefix: `/p${round}/` });
      expect((await explain({ method: 'GET', url: `/p${round}/x` })).json.matched?.mapping).toBe('m');
    }
    await test.ask('DELETE', `${g}/mappings/m`);
    expect((await explain({ method: 'GET', url: '/p4/x' })).json.matched).toBeNull();
  });
});

describe('route tests', () => {
  it('are kept, listed with their results, changed and ended', async () => {
    const { put, test: put_, g } = await newGateway('kept');
    await put('user', { prefix: '/user/' });
    const made = await put_('health', 'http://h/user/health?x=1', {
      mapping: 'user',
      rewrittenPath: '/health?x=1',
      upstream: 'http://usersvc:80',
    });
    expect([made.status, made.json.version, made.json.routeTests]).toEqual([
      201,
      1,
      { passed: 1, failed: [], failedCount: 0, notAffected: 0 },
    ]);
    expect((await put_('nobody', '/zzz', { none: true })).status).toBe(201);
    expect((await put_('nobody', '/zzz', { none: true })).status).toBe(200);
    const list = (await test.ask('GET', `${g}/route-tests`)).json.items;
    expect(list.map(({ name, result }: { name: string; result: { passed: boolean } }) => [name, result.passed])).toEqual([
      ['health', true],
      ['nobody', true],
    ]);
    const one = await test.ask('GET', `${g}/route-tests/health`);
    expect(one.json).toMatchObject({ result: { got: { mapping: 'user' } }, version: 1 });
    expect((await test.ask('DELETE', `${g}/route-tests/health`, { headers: { 'if-match': '"7"' } })).status).toBe(412);
    expect((await test.ask('DELETE', `${g}/route-tests/health`)).json).toMatchObject({ deleted: true });
    expect((await test.ask('DELETE', `${g}/route-tests/health`)).status).toBe(404);
    expect((await test.ask('GET', `${g}/route-tests/health`)).json.code).toBe('route_test_not_found');
    const bad = await test.ask('PUT', `${g}/route-tests/bad`, {
      body: { request: { method: 'GET', url: 'x' }, expect: { none: true, mapping: 'a', upstream: 'b' } },
    });
    expect([bad.status, bad.json.errors.map(({ code }: { code: string }) => code)]).toEqual([
      422,
      ['url_invalid', 'mapping_or_none', 'expectation_contradicts'],
    ]);
  });

  it('refuse a write that breaks them, unless it says so with a reason; a plan tells it', async () => {
    const { put, test: put_, g, head } = await newGateway('guarded');
    await put('user', { prefix: '/user/' });
    await put('other', { prefix: '/other/' });
    await put_('u', 'http://h/user/x', { mapping: 'user' });
    const before = await head();
    const thief = { prefix: '/user/x' };
    const refused = await put('thief', thief);
    expect([refused.status, refused.json.code, refused.json.routeTests.failedCount]).toEqual([422, 'route_test_failed', 1]);
    expect(refused.json.routeTests.failed[0]).toMatchObject({ test: 'u', got: { mapping: 'thief' }, expect: { mapping: 'user' } });
    expect((await test.ask('DELETE', `${g}/mappings/user`)).json.code).toBe('route_test_failed');
    expect((await put('user', { prefix: '/users/' })).json.code).toBe('route_test_failed');
    expect((await test.ask('PATCH', `${g}/mappings/user`, { body: { prefix: '/users/' } })).json.code).toBe('route_test_failed');
    expect(await head()).toBe(before);
    const plan = await put('thief', thief, '?dryRun=true');
    expect([plan.status, plan.json.routeTests.failedCount, plan.json.changes.length]).toEqual([200, 1, 1]);
    expect((await put('thief', thief, '?overrideRouteTests=true')).json.code).toBe('reason_missing');
    expect((await put('user', { prefix: '/user/', timeoutMs: 77 })).json.routeTests).toBeUndefined();
    expect((await put('elsewhere', { prefix: '/elsewhere/' }, '?dryRun=true')).json.routeTests).toMatchObject({
      passed: 0,
      notAffected: 1,
    });
    const done = await put('thief', thief, '?overrideRouteTests=true&reason=planned');
    expect([done.status, done.json.routeTests.failedCount]).toEqual([201, 1]);
    expect((await test.ask('GET', `${g}/versions/${await head()}`)).json).toMatchObject({
      reason: 'planned',
      details: { routeTests: { failedCount: 1, failed: [{ test: 'u' }] } },
    });
    // What the test has nothing to do with goes on.
    expect((await put('other', { prefix: '/other/', rewrite: '/o/' })).status).toBe(200);
  });

  it('guard changesets, imports, rollbacks and reverts alike, and change with the routes in one version', async () => {
    const { put, test: put_, g, head } = await newGateway('alike');
    await put('user', { prefix: '/user/' });
    const old = await head();
    const moved = await test.ask('POST', `${g}/changesets`, {
      body: {
        changes: [
          { op: 'patch', subject: 'mapping/user', value: { prefix: '/people/' } },
          { op: 'put', subject: 'route-test/p', value: { request: { method: 'GET', url: '/people/1' }, expect: { mapping: 'user' } } },
        ],
      },
    });
    expect([moved.status, moved.json.routeTests]).toMatchObject([200, { passed: 1, failedCount: 0 }]);
    const set = await test.ask('POST', `${g}/changesets`, { body: { changes: [{ op: 'delete', subject: 'mapping/user' }] } });
    expect([set.status, set.json.code]).toEqual([422, 'route_test_failed']);
    const document = (await test.ask('GET', `${g}/config`)).json;
    expect(document.routeTests).toMatchObject([{ name: 'p', expect: { mapping: 'user' } }]);
    const same = await test.ask('PUT', `${g}/config`, { body: document, headers: { 'if-match': '*' } });
    expect([same.status, same.json.unchanged]).toEqual([200, true]);
    const bring = (body: Json, query = '') => test.ask('PUT', `${g}/config${query}`, { body, headers: { 'if-match': '*' } });
    const broken = { mappings: [{ name: 'user', prefix: '/user/', service: 'usersvc' }] };
    expect((await bring(broken)).json.code).toBe('route_test_failed');
    expect((await bring(broken, '?dryRun=true')).json.routeTests.failed[0].test).toBe('p');
    expect((await bring({ ...broken, routeTests: [] }, '?prune=true')).status).toBe(200);
    await put_('p', '/user/1', { mapping: 'user' });
    const back = await test.ask('POST', `${g}/rollbacks`, { body: { toVersion: old + 1, reason: 'try' }, headers: { 'if-match': '*' } });
    // Both the route and its test go back together.
    expect([back.status, back.json.routeTests]).toMatchObject([201, { passed: 1 }]);
    await put_('q', '/people/1', { mapping: 'user' });
    const first = await test.ask('POST', `${g}/rollbacks?dryRun=true`, { body: { toVersion: old, reason: 'try' } });
    expect(first.json.routeTests).toMatchObject({ failedCount: 0 });
    await put('late', { prefix: '/late/' });
    const late = await head();
    await put_('late', '/late/1', { mapping: 'late' });
    const undone = await test.ask('POST', `${g}/reverts`, { body: { version: late, reason: 'try' } });
    expect([undone.status, undone.json.code]).toEqual([422, 'route_test_failed']);
    const overridden = await test.ask('POST', `${g}/reverts?overrideRouteTests=true`, { body: { version: late, reason: 'try' } });
    expect([overridden.status, overridden.json.routeTests.failedCount]).toEqual([201, 1]);
  });

  it('no two writes break together what neither breaks alone', async () => {
    const { put, test: put_, g } = await newGateway('together');
    await put('user', { prefix: '/user/' });
    await put('spare', { prefix: '/use' });
    await put_('u', '/user/1', { mapping: 'user' });
    // Lowering the one and adding another between: each alone leaves the request where it is.
    const round = async (i: number) => {
      const answers = await Promise.all([
        put('user', { prefix: '/user/', precedence: -1 }),
        put(`between${i}`, { prefix: '/user', headers: {}, precedence: 0, methods: ['GET'] }),
      ]);
      const list = (await test.ask('GET', `${g}/route-tests`)).json.items;
      expect(list[0].result.passed).toBe(true);
      expect(answers.filter(({ status }) => status === 422).length).toBeGreaterThanOrEqual(1);
      await test.ask('DELETE', `${g}/mappings/between${i}`);
      await put('user', { prefix: '/user/', precedence: 0 });
    };
    await test.ask('DELETE', `${g}/mappings/spare`);
    for (let i = 0; i < 10; i++) await round(i);
  });

  it('are bounded in number', async () => {
    const { g } = await newGateway('bounded');
    const tests = Array.from({ length: 1_001 }, (_, i) => ({
      name: `t${i}`,
      request: { method: 'GET', url: `/${i}` },
      expect: { none: true },
    }));
    const send = (routeTests: Json) => test.ask('PUT', `${g}/config`, { body: { routeTests }, headers: { 'if-match': '*' } });
    const many = await send(tests as unknown as Json);
    expect([many.status, many.json.code]).toEqual([422, 'route_test_budget']);
    expect((await send(tests.slice(1) as unknown as Json)).json.routeTests).toMatchObject({ passed: 1000 });
    const more = await test.ask('PUT', `${g}/route-tests/t0`, { body: { request: { method: 'GET', url: '/' }, expect: { none: true } } });
    expect([more.status, more.json.code]).toEqual([422, 'route_test_budget']);
  });
});
