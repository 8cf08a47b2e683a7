import { connect } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { defaultSettings } from '#features/gateway/gateway.js';
import { gatewayKind } from '#features/gateway/gateway.kind.js';
import { documentText, toDocument } from '#features/history/configuration-document.js';
import { SubjectKinds } from '#features/history/subject-kind.js';
import { mappingKind } from '#features/mapping/mapping.kind.js';
import { tables } from '#features/mapping/table.arbitrary.js';
import { principalKind } from '#features/principal/principal.kind.js';
import { routeTestKind } from '#features/route-test/route-test.kind.js';
import { readSnapshot } from '#platform/eventstore/read-log.js';
import { contentHash } from '#platform/kernel/digest.js';
import type { Json } from '#platform/kernel/json.js';

import { startTestApi, type TestAnswer, type TestApi, type TestRequest } from './test-api.js';

const kinds = new SubjectKinds([gatewayKind, mappingKind(new Set()), principalKind, routeTestKind]);
type Document = { readonly [key: string]: Json };

describe('PUT config over HTTP', () => {
  let test: TestApi;
  let gateways = 0;
  beforeAll(async () => {
    test = await startTestApi();
  });
  afterAll(() => test.close());

  const newGateway = async () => {
    const name = `g${++gateways}`;
    expect((await test.ask('POST', '/v1/gateways', { body: { name, settings: { allowLoopbackUpstreams: true } } })).status).toBe(201);
    return name;
  };
  const put = (gateway: string, document: Json, query = '', request: TestRequest = {}) =>
    test.ask('PUT', `/v1/gateways/${gateway}/config${query}`, {
      body: document,
      ...request,
      headers: { 'if-match': '*', ...request.headers },
    });
  const putYaml = (gateway: string, raw: string, query = '', type = 'application/yaml') =>
    test.ask('PUT', `/v1/gateways/${gateway}/config${query}`, { raw, headers: { 'if-match': '*', 'content-type': type } });
  const documentOf = async (gateway: string) =>
    toDocument(kinds, (await readSnapshot(test.api.database.db, `gateway/${gateway}`)).subjects);
  const names = async (gateway: string) => ((await documentOf(gateway)).mappings as { name: string }[]).map(({ name }) => name);
  const pointers = ({ json }: TestAnswer): string[] =>
    json.errors.map(({ pointer, code }: { pointer: string; code: string }) => `${pointer} ${code}`);
  const aMapping = (name: string, more: Document = {}): Document => ({ name, prefix: `/${name}/`, service: '10.0.0.1', ...more });
  const events = ({ json }: TestAnswer): string[] =>
    json.changes.map(({ subject, event }: { subject: string; event: string }) => `${subject} ${event}`);

  it('makes the configuration that of the document, as one version; twice is no version', async () => {
    const gateway = await newGateway();
    const document = {
      settings: { ...defaultSettings, defaultTimeoutMs: 3000 },
      mappings: [aMapping('a'), aMapping('b', { timeoutMs: 10 })],
      principals: [{ name: 'alice', fingerprint: 'ab'.repeat(32) }],
    } as unknown as Document;
    const first = await put(gateway, document, '?reason=import');
    expect([first.status, first.json.version, first.headers.etag]).toEqual([200, 2, '"g2"']);
    expect(events(first)).toEqual([
      'gateway GatewayConfigured',
      'mapping/a MappingCreated',
      'mapping/b MappingCreated',
      'principal/alice PrincipalCreated',
    ]);
    expect(first.json.changes[1].after).toMatchObject({ timeoutMs: 3000 }); // by the settings of the same document
    const record = (await test.ask('GET', `/v1/gateways/${gateway}/versions/2`)).json;
    expect(record).toMatchObject({ action: 'ImportConfiguration', reason: 'import', details: { owner: null, prune: false } });
    const second = await put(gateway, document);
    expect(second.json).toMatchObject({ version: 2, unchanged: true, changes: [], warnings: [] });
  });

  it('leaves alone what the document leaves out, and prunes only sections that are there', async () => {
    const gateway = await newGateway();
    await put(gateway, { mappings: [aMapping('a'), aMapping('b')], principals: [{ name: 'p', fingerprint: 'cd'.repeat(32) }] });
    expect(events(await put(gateway, { mappings: [aMapping('c')] }))).toEqual(['mapping/c MappingCreated']);
    expect(events(await put(gateway, { mappings: [aMapping('b')] }, '?prune'))).toEqual([
      'mapping/a MappingDeleted',
      'mapping/c MappingDeleted',
    ]);
    expect(events(await put(gateway, { principals: [] }, '?prune=true'))).toEqual(['principal/p PrincipalDeleted']);
    expect((await put(gateway, {}, '?prune=true')).json.unchanged).toBe(true);
    expect(await names(gateway)).toEqual(['b']);
  });

  it('gives an owner its mappings, takes nobody else their own, and prunes only the owner’s', async () => {
    const gateway = await newGateway();
    await put(gateway, { mappings: [aMapping('free'), aMapping('theirs', { labels: { owner: 'other', tier: '1' } })] });
    const mine = await put(
      gateway,
      { mappings: [aMapping('free'), aMapping('mine', { labels: { a: 'b' } })] },
      '?owner=team%20a&prune=true',
    );
    expect([mine.status, events(mine)]).toEqual([200, ['mapping/free MappingUpdated', 'mapping/mine MappingCreated']]);
    expect(mine.json.changes.map(({ after }: { after: Document }) => after.labels)).toEqual([
      { owner: 'team a' },
      { a: 'b', owner: 'team a' },
    ]);
    expect((await test.ask('GET', `/v1/gateways/${gateway}/versions/${mine.json.version}`)).json.details).toEqual({
      owner: 'team a',
      prune: true,
    });
    expect(
      (await put(gateway, { mappings: [aMapping('free'), aMapping('mine', { labels: { a: 'b' } })] }, '?owner=team%20a&prune=true')).json
        .unchanged,
    ).toBe(true);
    const taking = await put(gateway, { mappings: [aMapping('mine'), aMapping('theirs')] }, '?owner=team%20a');
    expect([taking.status, pointers(taking)]).toEqual([409, ['/mappings/1/name owned_by_other']]);
    const mislabelled = await put(gateway, { mappings: [aMapping('new', { labels: { owner: 'other' } })] }, '?owner=team%20a');
    expect([mislabelled.status, pointers(mislabelled)]).toEqual([422, ['/mappings/0/labels/owner owner_mismatch']]);
    await put(gateway, { principals: [{ name: 'p', fingerprint: 'ef'.repeat(32) }] });
    const pruned = await put(gateway, { mappings: [], principals: [] }, '?owner=team%20a&prune=true');
    expect(events(pruned)).toEqual(['mapping/free MappingDeleted', 'mapping/mine MappingDeleted']);
    for (const [query, status] of [
      ['?owner=', 400],
      [`?owner=${'x'.repeat(257)}`, 400],
      ['?owner=a%0Ab', 400],
      ['?owners=a', 400],
      ['?prune=maybe', 400],
    ] as const)
      expect([query, (await put(gateway, {}, query)).status]).toEqual([query, status]);
  });

  it('says where in the document each fault is', async () => {
    const gateway = await newGateway();
    const answer = await put(gateway, {
      settings: { ...defaultSettings, http: { address: 'nowhere', port: 80 } } as unknown as Json,
      mappings: [
        aMapping('a'),
        aMapping('b', { prefix: 'b' }),
        aMapping('a', { prefix: '/other/' }),
        aMapping('-x'),
        aMapping('c', { prefix: '/a/' }),
        aMapping('d', { labels: 'none' }),
        7,
        { prefix: '/nameless/', service: 'a' },
        aMapping(''),
        { ...aMapping('x'), name: 1 },
      ],
      principals: [{ name: 'p', fingerprint: 'zz' }],
    });
    expect(answer.status).toBe(400);
    expect(pointers(answer)).toEqual([
      '/settings/http/address address_invalid',
      '/mappings/1/prefix path_not_absolute',
      '/mappings/2/name name_duplicate',
      '/mappings/3/name name_invalid',
      '/mappings/5/labels wrong_type',
      '/mappings/6 body_not_object',
      '/mappings/7/name missing_field',
      '/mappings/8/name name_empty',
      '/mappings/9/name wrong_type',
      '/principals/0/fingerprint fingerprint_invalid',
      '/mappings/4/prefix claim_taken',
      '/mappings/0/prefix claim_taken',
    ]);
    for (const [document, expected] of [
      [{ mappings: {} }, '/mappings wrong_type'],
      [{ mappings: null }, '/mappings wrong_type'],
      [{ mapping: [] }, '/mapping unknown_field'],
      [{ settings: null }, '/settings body_not_object'],
      [{ settings: { colour: 1 } }, '/settings/colour unknown_field'],
      [[], ' body_not_object'],
      [null, ' body_not_object'],
    ] as const) {
      const refused = await put(gateway, document as Json);
      expect([refused.status, pointers(refused)[0]]).toEqual([400, expected]);
    }
    const wide = Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`-${i}`, 'x']));
    expect(pointers(await put(gateway, { mappings: [aMapping('a', { labels: wide })] }))).toEqual(['/mappings/0 value_too_large']);
    const long = await test.ask('PUT', `/v1/gateways/${gateway}/config`, {
      raw: `{"mappings":[${'1,'.repeat(100_000)}1]}`,
      headers: { 'if-match': '*' },
    });
    expect([long.status, pointers(long)]).toEqual([422, ['/mappings section_too_long']]);
    const many = await put(gateway, { mappings: Array(12_000).fill(1) });
    expect([many.status, many.json.errors.length]).toEqual([400, 10_000]);
    expect(many.json.detail).toBe('A mapping is an object. (and 11999 more under "errors"); the first 10000 are listed');
    expect(await names(gateway)).toEqual([]);
    await put(gateway, { mappings: [aMapping('living')] });
    const taken = await put(gateway, { mappings: [aMapping('a'), aMapping('b', { prefix: '/living/' })] });
    expect([taken.status, pointers(taken)]).toEqual([409, ['/mappings/1/prefix claim_taken']]);
    expect(events(await put(gateway, { mappings: [aMapping('b', { prefix: '/living/' })] }, '?prune'))).toEqual([
      'mapping/b MappingCreated',
      'mapping/living MappingDeleted',
    ]);
  });

  it('asks what it is based on, and holds it', async () => {
    const gateway = await newGateway();
    const path = `/v1/gateways/${gateway}/config`;
    const body = { mappings: [aMapping('a')] };
    expect((await test.ask('PUT', path, { body })).json).toMatchObject({ status: 428, code: 'if_match_required' });
    const plan = await test.ask('PUT', `${path}?dryRun=true`, { body });
    expect([plan.status, plan.json.changeCount, plan.headers.etag, await names(gateway)]).toEqual([200, 1, '"g1"', []]);
    expect(plan.json.warnings).toEqual([]);
    await put(gateway, { mappings: [aMapping('b')] });
    const late = await test.ask('PUT', path, { body, headers: { 'if-match': plan.headers.etag } });
    expect(late.json).toMatchObject({ status: 412, code: 'version_mismatch', currentVersion: 2 });
    const anew = await test.ask('PUT', `${path}?dryRun=true`, { body });
    const done = await test.ask('PUT', path, { body, headers: { 'if-match': anew.headers.etag } });
    expect([done.status, done.json.changes]).toEqual([200, anew.json.changes]);
    expect((await put('nowhere', body)).json.code).toBe('gateway_not_found');
    const headers = { 'idempotency-key': 'import-0001' };
    const first = await put(gateway, { mappings: [aMapping('c')] }, '', { headers });
    const again = await put(gateway, { mappings: [aMapping('c')] }, '', { headers });
    expect([again.headers['idempotency-replayed'], again.json]).toEqual(['true', first.json]);
    expect((await put(gateway, body, '', { headers: { 'if-match': 'x' } })).json.code).toBe('if_match_malformed');
    expect((await put(gateway, body, '', { headers: { 'if-none-match': '*' } })).json.code).toBe('if_none_match_malformed');
  });

  it('lets nobody change the settings who may not; equal ones are no change', async () => {
    const gateway = await newGateway();
    const { token } = await test.makeToken(['read', 'write']);
    const document = await documentOf(gateway);
    expect((await put(gateway, { ...document, mappings: [aMapping('a')] } as Json, '', { token })).status).toBe(200);
    const refused = await put(gateway, { settings: {}, mappings: [aMapping('b')] }, '', { token });
    expect([refused.status, pointers(refused)]).toEqual([403, ['/settings scope_missing']]);
  });

  it('brings no state back that is in quarantine, unless it is said why', async () => {
    const gateway = await newGateway();
    const digest = contentHash((await put(gateway, { mappings: [aMapping('sick')] })).json.changes[0].after);
    await put(gateway, { mappings: [] }, '?prune');
    const state = { id: '0123456789abcdef', subject: 'mapping/sick', digest, reason: 'it ate the database' };
    await test.api.events.handle(
      {
        stream: `rollout/${gateway}`,
        subjects: ['quarantine/0123456789abcdef'],
        context: { commandId: '0191e9a0-0000-7000-8000-00000000000b', actor: 'system', action: 'QuarantineState' },
      },
      () => [{ type: 'StateQuarantined', schemaVersion: 1, subject: 'quarantine/0123456789abcdef', state }],
    );
    const refused = await put(gateway, { mappings: [aMapping('well'), aMapping('sick')] });
    expect([refused.status, pointers(refused)]).toEqual([409, ['/mappings/1 state_quarantined']]);
    expect((await put(gateway, { mappings: [aMapping('sick')] }, '?overrideQuarantine=true')).json.code).toBe('reason_missing');
    const done = await put(gateway, { mappings: [aMapping('sick')] }, '?overrideQuarantine=true&reason=must');
    const { details } = (await test.ask('GET', `/v1/gateways/${gateway}/versions/${done.json.version}`)).json;
    expect(details).toEqual({ owner: null, prune: false, overriddenQuarantines: ['0123456789abcdef'] });
  });

  it('takes YAML, and says what it does not take', async () => {
    const gateway = await newGateway();
    const yaml =
      '# mine\nmappings:\n  - name: a\n    prefix: /a/\n    service: "10.0.0.1"\n  - {name: b, prefix: /b/, service: 10.0.0.1}\n';
    for (const type of ['application/yaml', 'application/x-yaml', 'text/yaml; charset=utf-8', 'application/vnd.chancery+yaml'])
      expect([type, (await putYaml(gateway, yaml, '', type)).status]).toEqual([type, 200]);
    expect(await names(gateway)).toEqual(['a', 'b']);
    expect((await putYaml(gateway, yaml, '?format=yaml')).status).toBe(200);
    expect((await putYaml(gateway, yaml, '?format=json')).json.code).toBe('format_contradicts');
    const fault = await putYaml(gateway, 'mappings:\n  - name: a\n    prefix: a\n    service: x\n');
    expect([fault.status, pointers(fault)]).toEqual([422, ['/mappings/0/prefix path_not_absolute']]);
    expect((await putYaml(gateway, 'mappings: [a: 1, a: 2')).json).toMatchObject({ status: 400, code: 'yaml_invalid' });
    expect((await putYaml(gateway, 'mappings:\n  - {name: a, name: b}')).json).toMatchObject({ status: 400, code: 'yaml_invalid' });
    expect((await putYaml(gateway, '')).json.code).toBe('body_missing');
    const other = await putYaml(gateway, yaml, '', 'text/plain');
    expect([other.status, other.json.code, other.headers.accept]).toEqual([
      415,
      'media_type_unsupported',
      'application/json, application/yaml',
    ]);
    expect(
      (await test.ask('POST', `/v1/gateways/${gateway}/changesets`, { raw: yaml, headers: { 'content-type': 'application/yaml' } })).status,
    ).toBe(415);
    const large = await putYaml(gateway, `# ${'x'.repeat(1024 * 1024)}\n${yaml}`);
    expect([large.status, large.json.code]).toEqual([413, 'body_too_large']);
    expect(large.json.detail).toBe('The body may be at most 1048576 bytes. As JSON (application/json) it may be 33554432.');
    expect((await putYaml(gateway, `# ${'x'.repeat(1024 * 1023)}\n${yaml}`)).json.unchanged).toBe(true);
  });

  const labels = fc.dictionary(
    fc.constantFrom('a', 'null', '1', 'a.b/c', 'true'),
    fc.string({ maxLength: 8, unit: 'grapheme' }).filter((text) => !/[\p{Cc}\p{Cs}]/u.test(text)),
    { maxKeys: 3, noNullPrototype: true },
  );
  const configurations = fc.record({
    settings: fc.record({
      defaultTimeoutMs: fc.integer({ min: 1, max: 7000 }),
      services: fc.dictionary(fc.constantFrom('usersvc', '1', 'a.b'), fc.constantFrom(['10.0.0.1:80'], [], ['[fd00::1]:1']), {
        noNullPrototype: true,
      }),
      perRouteStats: fc.constantFrom('auto', 'on', 'off'),
    }),
    mappings: tables.chain((mappings) => fc.tuple(...mappings.map((mapping) => labels.map((own) => ({ ...mapping, labels: own }))))),
    principals: fc.uniqueArray(fc.constantFrom('alice', 'Bob', '0', 'no', '1e3'), { maxLength: 4 }),
  });

  it('loses nothing: a gateway’s document put to an empty one gives the same document, as JSON and as YAML', async () => {
    const seed = Number(process.env.CHANCERY_SEED ?? 20_261_125);
    await fc.assert(
      fc.asyncProperty(configurations, async ({ settings, mappings, principals }) => {
        const source = await newGateway();
        const made = await put(source, {
          settings: { ...defaultSettings, ...settings, allowLoopbackUpstreams: true } as unknown as Json,
          mappings: mappings as unknown as Json,
          principals: principals.map((name, i) => ({ name, fingerprint: String(i).repeat(64) })),
        });
        expect([made.status, made.text]).toEqual([200, expect.anything()]);
        const document = await documentOf(source);
        expect((await put(source, document)).json.unchanged).toBe(true);
        const [json, yaml] = [await newGateway(), await newGateway()];
        expect(
          (await test.ask('PUT', `/v1/gateways/${json}/config`, { raw: documentText(document, 'json'), headers: { 'if-match': '*' } }))
            .status,
        ).toBe(200);
        expect((await putYaml(yaml, documentText(document, 'yaml'))).status).toBe(200);
        expect(documentText(await documentOf(json), 'json')).toBe(documentText(document, 'json'));
        expect(documentText(await documentOf(yaml), 'yaml')).toBe(documentText(document, 'yaml'));
      }),
      { numRuns: 25, seed, verbose: 1 },
    );
  }, 120_000);

  it('imports 10,000 mappings as one version, and again as none; others are served meanwhile', async () => {
    const gateway = await newGateway();
    const document = {
      mappings: Array.from({ length: 10_000 }, (_, i) => aMapping(`m${i}`, { labels: { team: `t${i % 7}`, note: 'x'.repeat(200) } })),
    };
    let over = false;
    const work = put(gateway, document).finally(() => {
      over = true;
    });
    let slowest = 0;
    while (!over) {
      const asked = performance.now();
      expect((await test.ask('GET', '/healthz')).status).toBe(200);
      slowest = Math.max(slowest, performance.now() - asked);
    }
    const answer = await work;
    expect([answer.status, answer.json.version, answer.json.changeCount]).toEqual([200, 2, 10_000]);
    expect(slowest).toBeLessThan(2_000);
    expect((await put(gateway, document)).json).toMatchObject({ version: 2, unchanged: true });
    const pruned = await put(gateway, { mappings: document.mappings.slice(0, 9_990) }, '?prune');
    expect([pruned.json.version, pruned.json.changeCount]).toEqual([3, 10]);
  }, 60_000);

  it('takes large bodies here only, and of those only who may write', async () => {
    const gateway = await newGateway();
    const filler = 'x'.repeat(300 * 1024);
    const path = `/v1/gateways/${gateway}/config`;
    const raw = JSON.stringify({ mappings: [], principals: [], filler });
    expect((await test.ask('PUT', path, { raw, headers: { 'if-match': '*' } })).json.code).toBe('unknown_field'); // it was read
    const elsewhere = await test.ask('PUT', `/v1/gateways/${gateway}/mappings/x`, { raw });
    expect([elsewhere.status, elsewhere.json.detail]).toEqual([413, 'The body may be at most 262144 bytes.']);
    const [{ token: reader }, { token: gone }] = [await test.makeToken(['read']), await test.makeToken(['write'], { daysAgo: 2, days: 1 })];
    for (const [token, status, code] of [
      [null, 401, 'token_missing'],
      ['chy_nobody', 401, 'token_malformed'],
      [gone, 401, 'token_expired'],
      [reader, 403, 'scope_missing'],
    ] as const)
      expect([code, await test.ask('PUT', path, { raw, token })]).toMatchObject([code, { status, json: { code } }]);
    const huge = await test.ask('PUT', path, { raw: Buffer.alloc(33 * 1024 * 1024, 'x'), headers: { 'if-match': '*' } });
    expect([huge.status, huge.json.detail]).toEqual([413, 'The body may be at most 33554432 bytes.']);
  }, 30_000);

  it('keeps nothing of a stranger’s large body, however it is sent', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const chunk = Buffer.from(`10000\r\n${'x'.repeat(0x10000)}\r\n`); // 64 KiB, the same bytes for all
    const start = `PUT /v1/gateways/default/config HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`;
    collect();
    const before = process.memoryUsage().arrayBuffers;
    const port = Number(new URL(test.api.url).port);
    const clients = Array.from({ length: 30 }, () => {
      const socket = connect(port, '127.0.0.1');
      let text = '';
      socket.on('data', (data) => {
        text += data;
      });
      socket.on('error', () => undefined);
      return { socket, answer: () => text };
    });
    await Promise.all(
      clients.map(async ({ socket }) => {
        socket.write(start);
        for (let i = 0; i < 100 && socket.writable; i++) await new Promise((resolve) => socket.write(chunk, resolve)); // none ever ends its body
      }),
    );
    collect();
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(30 * 1024 * 1024); // of 30 times 6.4 MB
    for (const { socket, answer } of clients) {
      expect(answer()).toMatch(/^HTTP\/1.1 401 .*"code":"token_missing"/s);
      socket.destroy();
    }
  }, 30_000);
});
