import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

import { startTestApi, type TestApi } from './test-api.js';

const settings = '/v1/gateways/default/settings';

describe('gateways and settings over HTTP', () => {
  let test: TestApi;
  beforeAll(async () => {
    test = await startTestApi();
  });
  afterAll(() => test.close());

  it('has the gateway default from the start, as an act of the system', async () => {
    const { json } = await test.ask('GET', '/v1/gateways');
    expect(json).toMatchObject({ items: [{ name: 'default', version: 1 }], next: null });
    const first = await test.ask('GET', '/v1/gateways/default/versions/1');
    expect(first.json).toMatchObject({
      action: 'CreateGateway',
      actor: 'system',
      events: [{ type: 'GatewayCreated', subject: 'gateway', before: null }],
    });
  });

  it('creates a gateway, once, and keeps its history apart', async () => {
    const create = (name: string) => test.ask('POST', '/v1/gateways', { body: { name, settings: { defaultTimeoutMs: 3000 } } });
    const made = await create('edge');
    expect([made.status, made.headers.location]).toEqual([201, '/v1/gateways/edge']);
    expect(made.json).toMatchObject({ name: 'edge', version: 1, settings: { defaultTimeoutMs: 3000, drainTimeS: 2 } });
    expect((await create('edge')).json).toMatchObject({ status: 409, code: 'gateway_exists' });
    expect((await create('Bad_Name')).json).toMatchObject({ status: 422, code: 'gateway_name_invalid' });
    const mapping = { name: 'user', prefix: '/user/', service: 'usersvc' };
    expect((await test.ask('POST', '/v1/gateways/edge/mappings', { body: mapping })).headers['chancery-version']).toBe('2');
    expect((await test.ask('POST', '/v1/gateways/default/mappings', { body: mapping })).headers['chancery-version']).toBe('2');
    expect((await test.ask('GET', '/v1/gateways/edge/mappings/user')).json.timeoutMs).toBe(3000);
  });

  it('merges and replaces settings under their own tag', async () => {
    const read = await test.ask('GET', settings);
    expect(read.headers.etag).toBe('"1"');
    const merged = await test.ask('PATCH', settings, {
      body: { services: { usersvc: ['127.0.0.1:9001'] } },
      headers: { 'if-match': '"1"' },
    });
    expect([merged.status, merged.headers.etag, merged.json.services]).toEqual([200, '"2"', { usersvc: ['127.0.0.1:9001'] }]);
    const stale = await test.ask('PUT', settings, { body: {}, headers: { 'if-match': '"1"' } });
    expect(stale.json).toMatchObject({ status: 412, code: 'version_mismatch', currentVersion: 2 });
    const dry = await test.ask('PATCH', `${settings}?dryRun=true`, { body: { services: { usersvc: null } } });
    expect(dry.json.changes[0].diff).toEqual([{ op: 'remove', pointer: '/services/usersvc', before: ['127.0.0.1:9001'], after: null }]);
    const replaced = await test.ask('PUT', settings, { body: { drainTimeS: 3 }, headers: { 'if-match': '"2"' } });
    expect(replaced.json).toMatchObject({ drainTimeS: 3, services: {}, allowLoopbackUpstreams: false });
    expect((await test.ask('GET', settings, { headers: { 'if-none-match': '"3"' } })).status).toBe(304);
  });

  it.each([
    [{ drainTimeS: 20 }, 422, 'window_too_short', '/parentShutdownTimeS'],
    [{ idleTimeoutMs: 60_000 }, 422, 'idle_timeout_exceeds_window', '/idleTimeoutMs'],
    [{ http: { port: 0 } }, 422, 'port_out_of_range', '/http/port'],
    [{ http: { port: 'x' } }, 400, 'wrong_type', '/http/port'],
    [{ colour: 'red' }, 400, 'unknown_field', '/colour'],
    [{ services: { 'Bad Name': [] } }, 422, 'service_name_invalid', '/services/Bad Name'],
  ])('refuses the settings %j', async (body, status, code, pointer) => {
    const before = await test.fingerprint();
    const answer = await test.ask('PATCH', settings, { body });
    expect([answer.status, answer.json.code, answer.json.errors[0].pointer]).toEqual([status, code, pointer]);
    expect(await test.fingerprint()).toBe(before);
  });

  it('lists versions newest first, a page at a time, by action and actor', async () => {
    const all = await test.ask('GET', '/v1/gateways/default/versions');
    const numbers = all.json.items.map((item: { version: number }) => item.version);
    expect(numbers).toEqual([...numbers].sort((a, b) => b - a));
    const first = await test.ask('GET', '/v1/gateways/default/versions?limit=2');
    const next = await test.ask('GET', /<(.*?)>/.exec(first.headers.link ?? '')?.[1] ?? '');
    expect([...first.json.items, ...next.json.items].map((item: { version: number }) => item.version)).toEqual(numbers.slice(0, 4));
    const configured = await test.ask('GET', '/v1/gateways/default/versions?action=ConfigureGateway');
    expect(configured.json.items.length).toBe(2);
    expect((await test.ask('GET', '/v1/gateways/default/versions?actor=system')).json.items).toMatchObject([{ version: 1 }]);
    for (const number of ['0', '-1', '99', 'x', '1e0', '01'])
      expect((await test.ask('GET', `/v1/gateways/default/versions/${number}`)).status).toBe(404);
    const [newest, before] = all.json.items;
    expect(newest.parentHash).toBe(before.hash);
  });
});
