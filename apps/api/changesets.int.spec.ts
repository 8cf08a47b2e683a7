import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

import { sqlQuery } from '#platform/database/database.js';
import { contentHash } from '#platform/kernel/digest.js';
import type { Json } from '#platform/kernel/json.js';

import { startTestApi, type TestAnswer, type TestApi, type TestRequest } from './test-api.js';

const g = '/v1/gateways/default';

interface Written {
  readonly op: string;
  readonly subject: string;
  readonly value?: Json;
  readonly ifVersion?: number;
}

const mapping = (name: string, more: { readonly [key: string]: Json } = {}): Written => ({
  op: 'put',
  subject: `mapping/${name}`,
  value: { prefix: `/${name}/`, service: '10.0.0.1', ...more },
});

describe('changesets over HTTP', () => {
  let test: TestApi;
  beforeAll(async () => {
    test = await startTestApi();
  });
  afterAll(() => test.close());

  const apply = (
    changes: readonly Written[],
    more: { readonly [key: string]: Json } = {},
    { path = `${g}/changesets`, ...request }: TestRequest & { path?: string } = {},
  ) => test.ask('POST', path, { body: { changes: changes as unknown as Json, ...more }, ...request });
  const head = async () => Number((await test.ask('GET', `${g}/versions?limit=1`)).json.items[0].version);
  const pointers = ({ json }: TestAnswer): string[] =>
    json.errors.map(({ pointer, code }: { pointer: string; code: string }) => `${pointer} ${code}`);

  it('makes many changes one version, with its record', async () => {
    const before = await head();
    const answer = await apply(
      [mapping('one'), mapping('two'), { op: 'put', subject: 'principal/alice', value: { fingerprint: 'ab'.repeat(32) } }],
      {
        reason: 'three at once',
      },
    );
    expect([answer.status, answer.json.version, answer.json.unchanged, answer.json.changeCount]).toEqual([200, before + 1, false, 3]);
    expect(answer.headers).toMatchObject({ etag: `"g${before + 1}"`, 'chancery-version': String(before + 1) });
    expect(answer.json.changes).toMatchObject([
      { subject: 'mapping/one', event: 'MappingCreated', before: null, after: { prefix: '/one/' }, diff: [{ op: 'add', pointer: '' }] },
      { subject: 'mapping/two', event: 'MappingCreated' },
      { subject: 'principal/alice', event: 'PrincipalCreated' },
    ]);
    const record = (await test.ask('GET', `${g}/versions/${before + 1}`)).json;
    expect(record).toMatchObject({ action: 'ApplyChangeset', reason: 'three at once', eventCount: 3, details: { changes: 3 } });
    expect((await test.ask('GET', `${g}/mappings/two`)).json).toMatchObject({ version: 1, gatewayVersion: before + 1 });
  });

  it('decides in order on what the changes before it made; a subject named twice has one event', async () => {
    await apply([mapping('a', { prefix: '/left/' }), mapping('b', { prefix: '/right/' }), mapping('gone')]);
    const answer = await apply([
      { op: 'patch', subject: 'mapping/a', value: { prefix: '/right/' } },
      { op: 'patch', subject: 'mapping/b', value: { prefix: '/left/' } },
      mapping('new'),
      { op: 'patch', subject: 'mapping/new', value: { timeoutMs: 7 } },
      mapping('passing'),
      { op: 'delete', subject: 'mapping/passing' },
      { op: 'delete', subject: 'mapping/gone' },
      mapping('gone', { prefix: '/back/' }),
    ]);
    expect(answer.status).toBe(200);
    expect(answer.json.changes.map((one: { subject: string; event: string }) => `${one.subject} ${one.event}`)).toEqual([
      'mapping/a MappingUpdated',
      'mapping/b MappingUpdated',
      'mapping/new MappingCreated',
      'mapping/gone MappingUpdated',
    ]);
    expect(answer.json.changes[0].diff).toEqual([{ op: 'replace', pointer: '/prefix', before: '/left/', after: '/right/' }]);
    expect((await test.ask('GET', `${g}/mappings/new`)).json).toMatchObject({ timeoutMs: 7, version: 1 });
    expect((await test.ask('GET', `${g}/mappings/passing`)).status).toBe(404);
  });

  it('judges mappings by the settings that an earlier change makes', async () => {
    const answer = await apply([{ op: 'patch', subject: 'gateway', value: { defaultTimeoutMs: 1234 } }, mapping('timed')]);
    expect(answer.json.changes.at(-1)).toMatchObject({ after: { timeoutMs: 1234 } });
    await apply([{ op: 'patch', subject: 'gateway', value: { defaultTimeoutMs: 5000 } }]);
  });

  it('does nothing at all when any change is refused, and tells every refusal with its index', async () => {
    await apply([mapping('there')]);
    const before = await test.fingerprint();
    const answer = await apply([
      mapping('fine'),
      mapping('bad', { prefix: 'no-slash', timeoutMs: -1 }),
      { op: 'patch', subject: 'mapping/bad', value: {} }, // not told: it follows on what was refused
      { op: 'patch', subject: 'mapping/nobody', value: { timeoutMs: 1 } },
      { op: 'delete', subject: 'principal/nobody' },
      { op: 'delete', subject: 'gateway' },
      { op: 'put', subject: 'listener/edge', value: {} },
      { op: 'put', subject: 'mapping/bad name', value: {} },
      { op: 'put', subject: `mapping/-x`, value: { prefix: '/x/', service: 'a' } },
      { ...mapping('there'), ifVersion: 7 },
      { ...mapping('fresh'), ifVersion: 1 },
      { ...mapping('fresh2'), ifVersion: 0 },
      { op: 'put', subject: 'mapping/there', value: { name: 'other', prefix: '/x/', service: 'a' } },
    ]);
    expect(pointers(answer)).toEqual([
      '/changes/1/value/prefix path_not_absolute',
      '/changes/1/value/timeoutMs timeout_out_of_range',
      '/changes/3/subject mapping_not_found',
      '/changes/4/subject principal_not_found',
      '/changes/5/subject gateway_stays',
      '/changes/6/subject subject_unknown',
      '/changes/7/subject subject_unknown',
      '/changes/8/subject name_invalid',
      '/changes/9/ifVersion version_mismatch',
      '/changes/10/ifVersion version_mismatch',
      '/changes/12/value/name name_immutable',
    ]);
    expect([answer.status, answer.json.code]).toEqual([422, 'path_not_absolute']);
    expect(answer.json.detail).toContain('mapping/bad: ');
    expect(await test.fingerprint()).toBe(before);
  });

  it.each<[string, number, string, Written[]]>([
    ['a shape', 400, 'unknown_field', [{ op: 'delete', subject: 'mapping/nobody' }, mapping('x', { colour: 'red' })]],
    ['an absent one', 404, 'mapping_not_found', [{ op: 'delete', subject: 'mapping/nobody' }, mapping('x', { prefix: 'x' })]],
    ['a stale one', 412, 'version_mismatch', [{ ...mapping('x'), ifVersion: 3 }, mapping('y', { prefix: 'x' })]],
    ['a meaning', 422, 'path_not_absolute', [mapping('x', { prefix: 'x' }), { op: 'delete', subject: 'mapping/nobody' }]],
    ['a conflict', 409, 'gateway_stays', [{ op: 'delete', subject: 'gateway' }, mapping('x', { prefix: 'x' })]],
  ])('answers %s with its own status', async (_title, status, code, changes) => {
    const answer = await apply(changes);
    expect([answer.status, answer.json.code, answer.json.errors.length]).toEqual([status, code, 2]);
  });

  it.each<[unknown, string]>([
    [{}, '/changes missing_field'],
    [{ changes: {} }, '/changes wrong_type'],
    [{ changes: [], more: 1 }, '/more unknown_field'],
    [{ changes: [7] }, '/changes/0 body_not_object'],
    [{ changes: [{ op: 'create', subject: 'mapping/x', value: {} }] }, '/changes/0/op wrong_type'],
    [{ changes: [{ op: 'put', value: {} }] }, '/changes/0/subject missing_field'],
    [{ changes: [{ op: 'put', subject: 'mapping/x' }] }, '/changes/0/value missing_field'],
    [{ changes: [{ op: 'put', subject: 'mapping/x', value: null }] }, '/changes/0/value body_not_object'],
    [{ changes: [{ op: 'put', subject: 'mapping/x', value: {}, ifVersion: -1 }] }, '/changes/0/ifVersion wrong_type'],
    [
      { changes: [{ op: 'put', subject: 'mapping/x', value: { constructor: 1, service: 'a' } }] },
      '/changes/0/value/constructor forbidden_key',
    ],
  ])('refuses the body %j', async (body, expected) => {
    const answer = await test.ask('POST', `${g}/changesets`, { body: body as Json });
    expect([answer.status, pointers(answer)[0]]).toEqual([400, expected]);
  });

  it('refuses hostile names and conditions without a defect', async () => {
    for (const subject of [
      '',
      '/',
      'mapping/',
      'mapping',
      'gateway/x',
      'mapping/a\u0000',
      'mapping/\ud800',
      'mapping/a\nb',
      '__proto__',
      `mapping/${'x'.repeat(400)}`,
    ]) {
      for (const op of ['put', 'patch', 'delete']) {
        const answer = await apply([{ op, subject, ...(op === 'delete' ? {} : { value: { prefix: '/x/', service: 'a' } }) }]);
        expect([subject, op, answer.status]).toEqual([subject, op, 422]);
      }
    }
    expect((await apply([mapping('x')], {}, { headers: { 'if-none-match': '*' } })).json.code).toBe('if_none_match_malformed');
    expect((await apply([mapping('x')], { reason: 'a\u0007' })).json.code).toBe('reason_malformed');
    expect((await apply([mapping('x')], {}, { path: '/v1/gateways/nowhere/changesets' })).json).toMatchObject({
      status: 404,
      code: 'gateway_not_found',
    });
    expect((await apply([])).json).toMatchObject({ unchanged: true, changeCount: 0 });
  });

  it('names both when two claim the same match, and the owner when another holds it already', async () => {
    await apply([mapping('holder', { prefix: '/held/' })]);
    const within = await apply([
      mapping('p', { prefix: '/same/' }),
      mapping('q'),
      mapping('r', { path: '/same/', prefix: null }),
      mapping('s', { prefix: '/same/' }),
    ]);
    expect([within.status, pointers(within)]).toEqual([
      409,
      ['/changes/3/value/prefix claim_taken', '/changes/0/value/prefix claim_taken'],
    ]);
    expect(within.json.detail).toContain('mapping/s: The mapping "p" matches these requests already');
    for (const path of [`${g}/changesets`, `${g}/changesets?dryRun=true`]) {
      const outside = await apply([mapping('t'), mapping('u', { prefix: '/held/' })], {}, { path });
      expect([outside.status, pointers(outside)]).toEqual([409, ['/changes/1/value/prefix claim_taken']]);
      expect(outside.json.detail).toContain('mapping/u: The mapping "holder" matches these requests already');
    }
    const twins = ['x', 'y'].map((name) => ({ op: 'put', subject: `principal/${name}`, value: { fingerprint: 'cd'.repeat(32) } }));
    expect(pointers(await apply(twins))).toEqual(['/changes/1/value/fingerprint claim_taken', '/changes/0/value/fingerprint claim_taken']);
  });

  it('plans, carries out exactly the plan by its tag, and not when something changed since', async () => {
    const changes = [mapping('planned'), { op: 'patch', subject: 'mapping/one', value: { timeoutMs: 99 } }];
    const before = await test.fingerprint();
    const plan = await apply(changes, {}, { path: `${g}/changesets?dryRun=true` });
    expect(plan.json).toMatchObject({
      dryRun: true,
      basedOn: await head(),
      changeCount: 2,
      changes: [{ event: 'MappingCreated' }, { event: 'MappingUpdated' }],
    });
    expect(await test.fingerprint()).toBe(before);
    const done = await apply(changes, {}, { headers: { 'if-match': plan.headers.etag ?? '' } });
    expect([done.status, done.json.changes]).toEqual([200, plan.json.changes]);
    const again = await apply(changes, {}, { path: `${g}/changesets?dryRun=true` });
    expect(again.json.changes).toEqual([]);
    expect((await apply(changes)).json).toMatchObject({ unchanged: true, version: done.json.version, changes: [] });
    const plan2 = await apply([mapping('planned2')], {}, { path: `${g}/changesets?dryRun=true` });
    await apply([mapping('meanwhile')]);
    const late = await apply([mapping('planned2')], {}, { headers: { 'if-match': plan2.headers.etag ?? '' } });
    expect(late.json).toMatchObject({ status: 412, code: 'version_mismatch', currentVersion: await head() });
  });

  it('is carried out once under one Idempotency-Key', async () => {
    const headers = { 'idempotency-key': 'changeset-0001' };
    const first = await apply([mapping('once')], {}, { headers });
    const second = await apply([mapping('once')], {}, { headers });
    expect([second.status, second.headers['idempotency-replayed'], second.json]).toEqual([200, 'true', first.json]);
    expect((await apply([mapping('twice')], {}, { headers })).json).toMatchObject({ status: 422, code: 'idempotency_key_reused' });
  });

  it('lets nobody change the settings who may not', async () => {
    const { token } = await test.makeToken(['read', 'write']);
    const refused = await apply([mapping('side'), { op: 'patch', subject: 'gateway', value: { defaultTimeoutMs: 1 } }], {}, { token });
    expect(refused.json).toMatchObject({ status: 403, code: 'scope_missing', missingScopes: ['admin'] });
    expect(pointers(refused)).toEqual(['/changes/1/value scope_missing']);
    expect((await apply([mapping('side'), { op: 'patch', subject: 'gateway', value: {} }], {}, { token })).status).toBe(200);
    const { token: reader } = await test.makeToken(['read']);
    expect((await apply([mapping('side')], {}, { token: reader })).json).toMatchObject({ status: 403, missingScopes: ['write'] });
  });

  it('brings no state back that is in quarantine, unless it is said why', async () => {
    await apply([mapping('sick')]);
    const { changes } = (await apply([mapping('sick', { timeoutMs: 666 })])).json;
    const digest = contentHash(changes[0].after);
    await apply([mapping('sick')]);
    const state = { id: '0123456789abcdef', subject: 'mapping/sick', digest, reason: 'it ate the database' };
    await test.api.events.handle(
      {
        stream: 'rollout/default',
        subjects: ['quarantine/0123456789abcdef'],
        context: { commandId: '0191e9a0-0000-7000-8000-00000000000a', actor: 'system', action: 'QuarantineState' },
      },
      () => [{ type: 'StateQuarantined', schemaVersion: 1, subject: 'quarantine/0123456789abcdef', state }],
    );
    const sick = [mapping('well'), mapping('sick', { timeoutMs: 666 })];
    const refused = await apply(sick);
    expect([refused.status, pointers(refused)]).toEqual([409, ['/changes/1/value state_quarantined']]);
    expect(refused.json.detail).toContain('it ate the database');
    expect((await apply(sick, { overrideQuarantine: true })).json).toMatchObject({ status: 422, code: 'reason_missing' });
    const done = await apply(sick, { overrideQuarantine: true, reason: 'it must' });
    expect(done.status).toBe(200);
    expect((await test.ask('GET', `${g}/versions/${done.json.version}`)).json.details).toEqual({
      changes: 2,
      overriddenQuarantines: ['0123456789abcdef'],
    });
    expect((await apply(sick)).json.unchanged).toBe(true); // it is not brought back: it is there
  });

  it('warns by the state after the whole set, and of what the set makes unreachable', async () => {
    await apply([mapping('inner', { prefix: '/w/inner/' })]);
    const { json } = await apply([
      mapping('outer', { prefix: '/w/', precedence: 1 }),
      mapping('later', { prefix: '/w/later/', service: 'nobody', timeoutMs: 9000 }),
    ]);
    expect(json.warnings.map(({ code, pointer }: { code: string; pointer: string }) => `${code} ${pointer}`)).toEqual([
      'makes_unreachable /changes/0/value/prefix',
      'shadowed /changes/1/value/prefix',
      'unverified_service /changes/1/value/service',
      'timeout_exceeds_window /changes/1/value/timeoutMs',
    ]);
    expect(json.warnings[0].message).toContain('inner');
    const many = await apply(Array.from({ length: 60 }, (_, i) => mapping(`warned${i}`, { service: `nobody${i}` })));
    expect(many.json.warnings).toHaveLength(51);
    expect(many.json.warnings.at(-1)).toEqual({
      code: 'warnings_cut',
      message: 'There are 10 more warnings; the gravest 50 are told.',
      pointer: '',
    });
  });

  it('takes 10,000 changes as one version, and no more', async () => {
    const changes = Array.from({ length: 10_000 }, (_, i) => mapping(`bulk-${i}`));
    const before = await head();
    const answer = await apply(changes);
    expect([answer.status, answer.json.version, answer.json.changeCount]).toEqual([200, before + 1, 10_000]);
    const more = await apply([...changes, mapping('one-more')]);
    expect([more.status, more.json.code, pointers(more)]).toEqual([422, 'changes_too_many', ['/changes changes_too_many']]);
    const gone = await apply(changes.map(({ subject }) => ({ op: 'delete', subject })));
    expect([gone.status, gone.json.version]).toEqual([200, before + 2]);
  }, 60_000);

  it('loses nothing among changesets and single writes at the same time: all gapless', async () => {
    const before = await head();
    const sets = Array.from({ length: 20 }, (_, i) =>
      apply([mapping(`set${i}-a`), mapping(`set${i}-b`), { op: 'patch', subject: 'mapping/one', value: { labels: { [`set${i}`]: 'x' } } }]),
    );
    const singles = Array.from({ length: 20 }, (_, i) =>
      test.ask('POST', `${g}/mappings`, { body: { name: `single${i}`, prefix: `/single${i}/`, service: '10.0.0.1' } }),
    );
    const statuses = (await Promise.all([...sets, ...singles])).map(({ status }) => status);
    expect(statuses).toEqual([...Array(20).fill(200), ...Array(20).fill(201)]);
    expect(await head()).toBe(before + 40);
    const { labels } = (await test.ask('GET', `${g}/mappings/one`)).json;
    expect(Object.keys(labels).sort()).toEqual(Array.from({ length: 20 }, (_, i) => `set${i}`).sort());
    const [row] = await sqlQuery<{ count: number; least: number; most: number }>(
      test.api.database.db,
      "SELECT count(*) AS count, min(version) AS least, max(version) AS most FROM chancery.version WHERE stream = 'gateway/default'",
      [],
    );
    expect(row).toEqual({ count: before + 40, least: 1, most: before + 40 });
  });
});
