import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

import { NOT_LOOKED_UP } from '#features/discovery/known-services.table.js';
import { sqlQuery } from '#platform/database/database.js';

import { startTestApi, type TestAnswer, type TestApi } from './test-api.js';

const mappings = '/v1/gateways/default/mappings';

const count = (answers: readonly TestAnswer[]) => {
  const counts: Record<number, number> = {};
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
};

describe('mappings over HTTP', () => {
  let test: TestApi;
  beforeAll(async () => {
    test = await startTestApi();
  });
  afterAll(() => test.close());

  const create = (name: string, more: object = {}) =>
    test.ask('POST', mappings, { body: { name, prefix: `/${name}/`, service: 'usersvc', ...more } });
  const put = (name: string, body: object, headers: Record<string, string> = {}) =>
    test.ask('PUT', `${mappings}/${name}`, { body: body as never, headers });

  it('creates a mapping and says where it is, at which version, and what is doubtful', async () => {
    const answer = await create('user');
    expect(answer.status).toBe(201);
    expect(answer.headers).toMatchObject({ etag: '"1"', location: `${mappings}/user`, 'chancery-version': '2' });
    expect(answer.json).toMatchObject({ name: 'user', prefix: '/user/', rewrite: '/', host: '*', version: 1, gatewayVersion: 2 });
    expect(answer.json.warnings).toMatchObject([{ code: 'unverified_service', pointer: '/service' }]);
    const read = await test.ask('GET', `${mappings}/user`);
    expect(read.status).toBe(200);
    expect(read.json).toMatchObject({ name: 'user', version: 1, status: { state: 'pending', reasons: [{ code: 'no_target' }] } });
  });

  it('warns of a service only what is known: found, looked for in vain, or not looked for yet', async () => {
    const found = (service: string, endpoints: string, error: string) =>
      sqlQuery(
        test.api.database.db,
        "INSERT INTO chancery.discovered_service (gateway, service, source, endpoints, error) VALUES ('default', $1, 'dns', $2::jsonb, $3)",
        [service, endpoints, error],
      );
    await found('listed', '[{"address":"10.0.0.1","port":9001}]', '');
    await found('resolved:80', '[{"address":"10.0.0.1","port":80}]', '');
    await found('missing:80', '[]', 'DNS: no such name');
    await found('asked:80', '[]', NOT_LOOKED_UP);
    const codes = async (service: string) => (await create(service, { service })).json.warnings.map(({ code }: { code: string }) => code);
    expect(await codes('listed')).toEqual([]);
    expect(await codes('resolved')).toEqual([]);
    expect(await codes('missing')).toEqual(['unresolved_service']);
    expect(await codes('asked')).toEqual(['unverified_service']);
    expect(await codes('unheard-of')).toEqual(['unverified_service']);
  });

  it('replaces, merges and deletes, each a version of its own', async () => {
    await create('life');
    const replaced = await put('life', { prefix: '/life/', service: 'othersvc', labels: { team: 'a' } });
    expect([replaced.status, replaced.headers.etag, replaced.json.service]).toEqual([200, '"2"', 'othersvc']);
    const again = await put('life', { prefix: '/life/', service: 'othersvc', labels: { team: 'a' } });
    expect([again.status, again.headers.etag]).toEqual([200, '"2"']);
    expect(again.json.recordedAt).toBe(replaced.json.recordedAt);
    const merged = await test.ask('PATCH', `${mappings}/life`, { body: { timeoutMs: 1000, labels: { team: null, tier: '1' } } });
    expect([merged.status, merged.headers.etag]).toEqual([200, '"3"']);
    expect(merged.json).toMatchObject({ service: 'othersvc', timeoutMs: 1000, labels: { tier: '1' } });
    const deleted = await test.ask('DELETE', `${mappings}/life`);
    expect([deleted.status, deleted.json]).toMatchObject([200, { name: 'life', deleted: true }]);
    expect((await test.ask('GET', `${mappings}/life`)).status).toBe(404);
    expect((await test.ask('DELETE', `${mappings}/life`)).status).toBe(404);
    const reborn = await put('life', { prefix: '/life/', service: 'usersvc' });
    expect([reborn.status, reborn.headers.etag]).toEqual([201, '"5"']);
  });

  it('refuses what two would claim: the name, the match', async () => {
    await create('claim');
    expect((await create('claim')).json).toMatchObject({ status: 409, code: 'mapping_exists' });
    const taken = await create('claim2', { prefix: '/claim/' });
    expect(taken.json).toMatchObject({ status: 409, code: 'claim_taken', instance: mappings });
    expect(taken.json.detail).toContain('The mapping "claim" matches these requests already');
    expect(taken.json.errors).toMatchObject([{ pointer: '/prefix', code: 'claim_taken' }]);
    expect(taken.headers['content-type']).toMatch(/^application\/problem\+json/);
  });

  it('answers 304 to a client that has the present bytes, and carries the state in the tag', async () => {
    await create('tagged');
    const { headers } = await test.ask('GET', `${mappings}/tagged`);
    expect(headers.etag).toBe('"1-pending"');
    const again = await test.ask('GET', `${mappings}/tagged`, { headers: { 'if-none-match': headers.etag ?? '' } });
    expect([again.status, again.text, again.headers.etag]).toEqual([304, '', headers.etag]);
    expect((await test.ask('GET', `${mappings}/tagged`, { headers: { 'if-none-match': '"1"' } })).status).toBe(200);
    const head = await test.ask('HEAD', `${mappings}/tagged`);
    expect([head.status, head.text, head.headers.etag]).toEqual([200, '', headers.etag]);
    const write = await put('tagged', { prefix: '/tagged/', service: 'othersvc' }, { 'if-match': headers.etag ?? '' });
    expect([write.status, write.headers.etag]).toEqual([200, '"2"']);
  });

  it.each([
    ['"1"', 200],
    ['"7", "1"', 200],
    ['W/"1"', 412],
    ['"2"', 412],
    ['"abc"', 412],
    ['"7", "8"', 412],
    ['*', 200],
    ['1', 400],
    ['"1" "2"', 400],
  ])('holds a PUT to If-Match: %s', async (tag, status) => {
    const name = `match${Buffer.from(tag).toString('hex')}`;
    await create(name);
    const before = await test.countEvents();
    const answer = await put(name, { prefix: `/${name}/`, service: 'changed' }, { 'if-match': tag });
    expect(answer.status).toBe(status);
    expect((await test.countEvents()) - before).toBe(status === 200 ? 1 : 0);
    if (status === 412) expect(answer.json).toMatchObject({ code: 'version_mismatch', currentVersion: 1 });
  });

  it('carries out exactly the plan of a dry run, and 412 when anything of the gateway has changed since', async () => {
    await create('planned');
    const plan = () => test.ask('PUT', `${mappings}/planned?dryRun=true`, { body: { prefix: '/planned/', service: 'plansvc' } });
    const first = await plan();
    expect([first.status, first.headers['dry-run'], first.json.basedOn]).toEqual([200, 'true', Number(first.headers['chancery-version'])]);
    expect(first.headers.etag).toBe(`"g${first.json.basedOn}"`);
    await create('in-between');
    const late = await put('planned', { prefix: '/planned/', service: 'plansvc' }, { 'if-match': first.headers.etag ?? '' });
    expect([late.status, late.json.code, late.json.currentVersion]).toEqual([412, 'version_mismatch', first.json.basedOn + 1]);
    const { headers } = await plan();
    const done = await put('planned', { prefix: '/planned/', service: 'plansvc' }, { 'if-match': headers.etag ?? '' });
    expect([done.status, done.json.service]).toEqual([200, 'plansvc']);
  });

  it.each([
    ['soon', 400],
    ['0s', 400],
    ['25h', 400],
    ['-5m', 400],
    ['5m', 201],
    ['90s', 201],
  ])('takes confirmWithin=%s with %i', async (time, status) => {
    const name = `confirm-${time.replace('-', 'minus')}`;
    const answer = await test.ask('PUT', `${mappings}/${name}?confirmWithin=${time}`, {
      body: { prefix: `/${name}/`, service: 'usersvc' },
    });
    expect(answer.status).toBe(status);
    if (status === 400) expect(answer.json).toMatchObject({ code: 'query_invalid', errors: [{ pointer: '/confirmWithin' }] });
  });

  it('creates only, when told If-None-Match: *, and replaces only, when told If-Match: *', async () => {
    const body = { prefix: '/only/', service: 'usersvc' };
    expect((await put('only', body, { 'if-match': '*' })).status).toBe(412);
    expect((await put('only', body, { 'if-none-match': '*' })).status).toBe(201);
    expect((await put('only', body, { 'if-none-match': '*' })).status).toBe(412);
    expect((await put('only', body, { 'if-none-match': '"1"' })).status).toBe(400);
  });

  it('lets one of fifty writers with the same tag through', async () => {
    await create('race');
    const writes = Array.from({ length: 50 }, (_, i) => put('race', { prefix: '/race/', service: `svc${i}` }, { 'if-match': '"1"' }));
    expect(count(await Promise.all(writes))).toEqual({ 200: 1, 412: 49 });
    expect((await test.ask('GET', `${mappings}/race`)).json.version).toBe(2);
  });

  it('lets one of fifty creators of the same name through', async () => {
    const before = await test.countEvents();
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => create('crowd', { prefix: `/crowd${i}/` })));
    expect(count(answers)).toEqual({ 201: 1, 409: 49 });
    expect((await test.countEvents()) - before).toBe(1);
  });

  it('lets one of fifty creators of the same route through', async () => {
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => create(`route${i}`, { prefix: '/same-route/' })));
    expect(count(answers)).toEqual({ 201: 1, 409: 49 });
  });

  it('carries a repeated request out once, however many come at the same time', async () => {
    const headers = { 'idempotency-key': 'twenty-at-once' };
    const before = await test.countEvents();
    const body = { name: 'once', prefix: '/once/', service: 'usersvc' };
    const answers = await Promise.all(Array.from({ length: 20 }, () => test.ask('POST', mappings, { body, headers })));
    expect(count(answers)).toEqual({ 201: 20 });
    expect(new Set(answers.map((answer) => answer.headers['chancery-version'])).size).toBe(1);
    expect(new Set(answers.map((answer) => answer.headers.etag))).toEqual(new Set(['"1"']));
    expect(answers.filter((answer) => answer.headers['idempotency-replayed'] === 'true')).toHaveLength(19);
    expect((await test.countEvents()) - before).toBe(1);
  });

  it('refuses a key that was used for something else', async () => {
    const headers = { 'idempotency-key': 'used-for-something' };
    const first = await test.ask('POST', mappings, { body: { name: 'key1', prefix: '/key1/', service: 'usersvc' }, headers });
    const other = await test.ask('POST', mappings, { body: { name: 'key2', prefix: '/key2/', service: 'usersvc' }, headers });
    expect([first.status, other.status, other.json.code]).toEqual([201, 422, 'idempotency_key_reused']);
    for (const key of ['short', 'a'.repeat(256), 'with space', 'ümlaut-key']) {
      const answer = await test.ask('POST', mappings, {
        body: { name: 'key3', prefix: '/k3/', service: 's' },
        headers: { 'idempotency-key': Buffer.from(key).toString('latin1') },
      });
      expect([key, answer.status]).toEqual([key, 400]);
    }
  });

  it('writes nothing on a dry run, and says what it would do', async () => {
    await create('dry', { labels: { team: 'a' } });
    const before = await test.fingerprint();
    const create2 = await test.ask('POST', `${mappings}?dryRun=true`, { body: { name: 'dry2', prefix: '/dry2/', service: 'usersvc' } });
    expect([create2.status, create2.headers['dry-run'], create2.headers.location]).toEqual([200, 'true', undefined]);
    expect(create2.json).toMatchObject({ dryRun: true, changes: [{ subject: 'mapping/dry2', event: 'MappingCreated', before: null }] });
    const replace = await test.ask('PUT', `${mappings}/dry?dryRun`, { body: { prefix: '/dry/', service: 'othersvc' } });
    expect(replace.json.changes[0].diff).toEqual([
      { op: 'remove', pointer: '/labels/team', before: 'a', after: null },
      { op: 'replace', pointer: '/service', before: 'usersvc', after: 'othersvc' },
    ]);
    const remove = await test.ask('DELETE', `${mappings}/dry?dryRun=1`);
    expect(remove.json.changes).toMatchObject([{ event: 'MappingDeleted', after: null }]);
    const taken = await test.ask('POST', `${mappings}?dryRun=true`, { body: { name: 'dry3', prefix: '/dry/', service: 'usersvc' } });
    expect(taken.status).toBe(409);
    expect(await test.fingerprint()).toBe(before);
  });

  it('keeps the reason, by query or header, with the version', async () => {
    await test.ask('PUT', `${mappings}/why?reason=because%20it%20hurt`, { body: { prefix: '/why/', service: 'a' } });
    const second = await put('why', { prefix: '/why/', service: 'b' }, { 'chancery-reason': 'and again', 'x-request-id': 'req-42' });
    const version = await test.ask('GET', `/v1/gateways/default/versions/${second.headers['chancery-version']}`);
    expect(version.json).toMatchObject({
      action: 'UpdateMapping',
      reason: 'and again',
      requestId: 'req-42',
      actor: expect.stringMatching(/^token\//),
    });
    expect(version.json.events[0]).toMatchObject({ subject: 'mapping/why', before: { service: 'a' }, state: { service: 'b' } });
    expect((await test.ask('DELETE', `${mappings}/why?reason=${'x'.repeat(1001)}`)).status).toBe(400);
  });

  it('pages by name, stable while others write, and filters on the server', async () => {
    for (let i = 0; i < 25; i++)
      await create(`page${String(i).padStart(2, '0')}`, { host: 'pages.example', labels: { kind: i % 2 === 0 ? 'even' : 'odd' } });
    const seen: string[] = [];
    let path: string | undefined = `${mappings}?host=pages.example&limit=7`;
    while (path !== undefined) {
      const answer: TestAnswer = await test.ask('GET', path);
      expect(answer.status).toBe(200);
      seen.push(...answer.json.items.map((item: { name: string }) => item.name));
      path = /<([^>]+)>; rel="next"/.exec(answer.headers.link ?? '')?.[1];
      expect(path === undefined).toBe(answer.json.next === null);
      if (seen.length === 7) {
        await test.ask('DELETE', `${mappings}/page03`); // behind the cursor: nothing may shift
        await create('page99', { host: 'pages.example' });
      }
    }
    expect(seen).toEqual([...Array.from({ length: 25 }, (_, i) => `page${String(i).padStart(2, '0')}`), 'page99']);
    const names = async (query: string) =>
      (await test.ask('GET', `${mappings}?${query}`)).json.items.map((item: { name: string }) => item.name);
    expect(await names('host=pages.example&label=kind%3Dodd&limit=3')).toEqual(['page01', 'page05', 'page07']);
    expect(await names('prefix=%2Fpage1&limit=3')).toEqual(['page10', 'page11', 'page12']);
    expect(await names('service=nosuch')).toEqual([]);
    expect(await names('host=pages.example&status=live')).toEqual([]);
    expect(await names('host=pages.example&status=pending&limit=2')).toEqual(['page00', 'page01']);
  });

  it.each([
    'cursor=x',
    'cursor=WyJ2ZXJzaW9ucyIsM10',
    'limit=0',
    'limit=1001',
    'limit=ten',
    'colour=red',
    'status=fine',
    'label=x',
    'host=a&host=b',
  ])('refuses the query %s', async (query) => {
    const answer = await test.ask('GET', `${mappings}?${query}`);
    expect([answer.status, ['cursor_invalid', 'query_invalid'].includes(answer.json.code)]).toEqual([400, true]);
    expect(answer.json.errors.length).toBeGreaterThan(0);
  });

  it('says 404 for a gateway that does not exist, on every address below it', async () => {
    for (const path of [
      '',
      '/settings',
      '/mappings',
      '/mappings/x',
      '/routes',
      '/versions',
      '/targets',
      '/deployments',
      '/redeployments',
      '/stats',
    ]) {
      const answer = await test.ask('GET', `/v1/gateways/nowhere${path}`);
      expect([path, answer.status, answer.json.code]).toEqual([path, 404, 'gateway_not_found']);
    }
    const write = await test.ask('POST', '/v1/gateways/nowhere/mappings', { body: { name: 'x', prefix: '/x/', service: 's' } });
    expect([write.status, write.json.code]).toEqual([404, 'gateway_not_found']);
  });
});
