import { randomUUID } from 'node:crypto';

import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';

import { openDatabase, sqlQuery } from '#platform/database/database.js';
import { readSnapshot, verifyStream } from '#platform/eventstore/read-log.js';
import { contentHash } from '#platform/kernel/digest.js';
import type { Json } from '#platform/kernel/json.js';

import { startTestApi, type TestAnswer, type TestApi, type TestRequest } from './test-api.js';

describe('going back over HTTP', () => {
  let test: TestApi;
  let g = '';
  let writer = '';
  let made = 0;
  beforeAll(async () => {
    test = await startTestApi();
    writer = (await test.makeToken(['read', 'write'])).token;
  });
  afterAll(() => test.close());
  /** Each test has a gateway of its own, at version 1. */
  beforeEach(async () => {
    made += 1;
    await ok(test.ask('POST', '/v1/gateways', { body: { name: `g${made}` } }), 201);
    g = `/v1/gateways/g${made}`;
  });

  const ok = async (answer: Promise<TestAnswer>, status = 200): Promise<TestAnswer> => {
    const { status: is, text } = await answer;
    if (is !== status) throw new Error(`${is} instead of ${status}: ${text}`);
    return answer;
  };
  const create = (name: string, more: Record<string, Json> = {}) =>
    ok(test.ask('POST', `${g}/mappings`, { body: { name, prefix: `/${name}/`, service: 'usersvc', ...more } }), 201);
  const patch = (name: string, body: Json, query = '') => ok(test.ask('PATCH', `${g}/mappings/${name}${query}`, { body }));
  const read = async (name: string) => (await test.ask('GET', `${g}/mappings/${name}`)).json;
  const remove = (name: string) => ok(test.ask('DELETE', `${g}/mappings/${name}`));
  const names = async () => (await test.ask('GET', `${g}/mappings`)).json.items.map((one: { name: string }) => one.name);
  const head = async () => (await readSnapshot(test.api.database.db, `gateway/g${made}`)).version;
  const rollback = (
    body: Record<string, Json>,
    { ifMatch = '*', key, query = '', ...more }: TestRequest & { query?: string; ifMatch?: string | null; key?: string } = {},
  ) =>
    test.ask('POST', `${g}/rollbacks${query}`, {
      body: { reason: 'it was better', ...body },
      headers: { ...(ifMatch === null ? {} : { 'if-match': ifMatch }), ...(key === undefined ? {} : { 'idempotency-key': key }) },
      ...more,
    });
  const revert = (body: Record<string, Json>, { query = '', ...more }: TestRequest & { query?: string } = {}) =>
    test.ask('POST', `${g}/reverts${query}`, { body: { reason: 'it was wrong', ...body }, ...more });
  const version = async (number: number) => (await ok(test.ask('GET', `${g}/versions/${number}`))).json;

  describe('a rollback', () => {
    it('restores the whole configuration as one version that says what it restores, and can be rolled back itself', async () => {
      await create('user'); // 2
      await create('grue', { labels: { team: 'dark' } }); // 3
      await patch('user', { timeoutMs: 60_000 }); // 4
      await remove('grue'); // 5
      await create('late'); // 6
      const answer = await ok(rollback({ toVersion: 3 }), 201);
      expect(answer.headers).toMatchObject({ etag: '"g7"', 'chancery-version': '7', location: `${g}/versions/7` });
      expect(answer.json).toMatchObject({ version: 7, toVersion: 3, equal: true, unchanged: false });
      expect(answer.json.restoredDigest).toBe(answer.json.digest);
      expect(answer.json.digest).toMatch(/^[0-9a-f]{64}$/);
      expect(answer.json.changes.map(({ subject, event }: { subject: string; event: string }) => [subject, event])).toEqual([
        ['mapping/grue', 'MappingCreated'],
        ['mapping/late', 'MappingDeleted'],
        ['mapping/user', 'MappingUpdated'],
      ]);
      expect(answer.json.changes[2].diff).toEqual([{ op: 'replace', pointer: '/timeoutMs', before: 60_000, after: 5_000 }]);
      expect(await names()).toEqual(['grue', 'user']);
      expect(await version(7)).toMatchObject({
        action: 'RollBack',
        reason: 'it was better',
        details: { toVersion: 3, digest: answer.json.digest },
        eventCount: 3,
      });
      const back = await ok(rollback({ toVersion: 6 }), 201);
      expect(back.json).toMatchObject({ version: 8, toVersion: 6, equal: true });
      expect(await names()).toEqual(['late', 'user']);
      expect((await read('user')).timeoutMs).toBe(60_000);
      expect(await verifyStream(test.api.database.db, `gateway/g${made}`)).toMatchObject({ ok: true, version: 8 });
    });

    it('says beforehand what it would do, under a tag that carries out exactly that', async () => {
      await create('user');
      await create('grue');
      const plan = await ok(rollback({ toVersion: 2 }, { query: '?dryRun=true', ifMatch: null }));
      expect(plan.json).toMatchObject({
        dryRun: true,
        basedOn: 3,
        toVersion: 2,
        changes: [{ subject: 'mapping/grue', event: 'MappingDeleted' }],
      });
      expect(plan.headers.etag).toBe('"g3"');
      expect(await head()).toBe(3);
      await create('other');
      const stale = await rollback({ toVersion: 2 }, { ifMatch: plan.headers.etag ?? '' });
      expect(stale.json).toMatchObject({ status: 412, code: 'version_mismatch', currentVersion: 4 });
      await remove('other');
      const done = await ok(rollback({ toVersion: 2 }, { ifMatch: '"g5"' }), 201);
      expect(done.json.digest).toBe(plan.json.digest);
    });

    it('warns beforehand of what would be unreachable or resolve to nothing, at the change in the answer', async () => {
      await create('inner', { prefix: '/a/b/' }); // 2
      await create('outer', { prefix: '/a/', precedence: 5 }); // 3
      await remove('outer'); // 4
      const plan = await ok(rollback({ toVersion: 3 }, { query: '?dryRun=true', ifMatch: null }));
      expect(plan.json.changes).toMatchObject([{ subject: 'mapping/outer', event: 'MappingCreated' }]);
      const warnings = plan.json.warnings.map(({ code, pointer }: { code: string; pointer: string }) => [code, pointer]);
      expect(warnings).toContainEqual(['makes_unreachable', expect.stringMatching(/^\/changes\/0\/after/)]);
      expect(warnings).toContainEqual(['unverified_service', '/changes/0/after/service']);
      const undone = await ok(revert({ version: 4 }, { query: '?dryRun=true' }));
      expect(undone.json.warnings).toEqual(plan.json.warnings);
      expect((await ok(rollback({ toVersion: 4 }, { query: '?dryRun=true', ifMatch: null }))).json.warnings).toEqual([]);
    });

    it('must say what it is based on', async () => {
      await create('user');
      const answer = await rollback({ toVersion: 1 }, { ifMatch: null });
      expect(answer.json).toMatchObject({ status: 428, code: 'if_match_required' });
      expect(await names()).toEqual(['user']);
      expect((await rollback({ toVersion: 1 }, { ifMatch: '"a"' })).json).toMatchObject({
        status: 400,
        code: 'if_match_malformed',
      });
    });

    it('to what is there already makes no version', async () => {
      await create('user');
      const answer = await ok(rollback({ toVersion: 2 }));
      expect(answer.json).toMatchObject({ version: 2, unchanged: true, equal: true, changes: [] });
      expect(answer.json.restoredDigest).toBe(answer.json.digest);
      await patch('user', { timeoutMs: 1 });
      await patch('user', { timeoutMs: 5_000 });
      expect((await ok(rollback({ toVersion: 2 }, { query: '?confirmWithin=5m' }))).json).toMatchObject({ version: 4, unchanged: true });
      expect((await ok(test.ask('GET', `${g}/confirmations`))).json.items).toEqual([]);
    });

    it('that did not restore what was is a defect: 500, logged', async () => {
      await create('user');
      const { state } = (await version(2)).events[0];
      // As a later release might write it, which this one reads without the member that it does not know.
      await test.api.events.handle(
        {
          stream: `gateway/g${made}`,
          subjects: ['mapping/user'],
          context: { commandId: randomUUID(), action: 'UpdateMapping', actor: 'system' },
        },
        () => [{ type: 'MappingUpdated', schemaVersion: 1, subject: 'mapping/user', state: { ...state, unheardOf: true } }],
      );
      await patch('user', { timeoutMs: 1 });
      expect((await rollback({ toVersion: 3 })).json).toMatchObject({ status: 500, code: 'internal' });
      expect(test.logged()).toContain(`version 5 of gateway/g${made} should restore version 3`);
    });

    it('is answered once under one key', async () => {
      await create('user');
      const ask = () => rollback({ toVersion: 1 }, { key: `rollback-${made}` });
      const first = await ok(ask(), 201);
      await create('later');
      const second = await ok(ask(), 201);
      expect(second.json).toEqual(first.json);
      expect(second.headers['idempotency-replayed']).toBe('true');
      expect(await names()).toEqual(['later']);
      const other = await rollback({ toVersion: 2 }, { key: `rollback-${made}` });
      expect(other.json).toMatchObject({ status: 422, code: 'idempotency_key_reused' });
    });

    it('restores settings for a token that may change them', async () => {
      await create('user');
      await ok(test.ask('PATCH', `${g}/settings`, { body: { defaultTimeoutMs: 4_000 } })); // 3
      const refused = await rollback({ toVersion: 2 }, { token: writer });
      expect(refused.json).toMatchObject({ status: 403, code: 'scope_missing', missingScopes: ['admin'] });
      expect((await rollback({ toVersion: 2 }, { token: writer, query: '?dryRun=true' })).status).toBe(403);
      await create('grue'); // 4
      expect((await ok(rollback({ toVersion: 3 }, { token: writer }), 201)).json.version).toBe(5);
      expect((await ok(rollback({ toVersion: 2 }), 201)).json.equal).toBe(true);
      expect((await test.ask('GET', `${g}/settings`)).json.defaultTimeoutMs).toBe(5_000);
    });

    it('swaps matches that two mappings hold, in one version', async () => {
      await create('a', { prefix: '/one/' }); // 2
      await create('b', { prefix: '/two/' }); // 3
      await patch('a', { prefix: '/three/' }); // 4
      await patch('b', { prefix: '/one/' }); // 5
      await patch('a', { prefix: '/two/' }); // 6
      expect((await ok(rollback({ toVersion: 3 }), 201)).json.changes).toHaveLength(2);
      expect([(await read('a')).prefix, (await read('b')).prefix]).toEqual(['/one/', '/two/']);
    });

    it('of 1,000 mappings is one version', async () => {
      for (let i = 0; i < 1_000; i += 100) await Promise.all(Array.from({ length: 100 }, (_, k) => create(`m${i + k}`)));
      const full = await head();
      expect((await ok(rollback({ toVersion: 1 }), 201)).json.changes).toHaveLength(1_000);
      expect(await names()).toEqual([]);
      const back = await ok(rollback({ toVersion: full }), 201);
      expect([back.json.equal, back.json.version]).toEqual([true, full + 2]);
    }, 60_000);

    it('while 200 others write, ends up somewhere among them, and is what it says', async () => {
      await create('user');
      const target = await head();
      const writes = Array.from({ length: 200 }, (_, i) => create(`w${i}`));
      await writes[0];
      const answer = await rollback({ toVersion: target });
      await Promise.all(writes);
      expect([answer.status, answer.json.equal, answer.json.toVersion]).toEqual([201, true, target]);
      expect(await verifyStream(test.api.database.db, `gateway/g${made}`)).toMatchObject({ ok: true });
      const after = await rollback({ toVersion: answer.json.version });
      expect(after.json.equal).toBe(true);
      expect(after.json.digest).toBe(answer.json.digest);
      expect(await names()).toEqual(['user']);
    }, 30_000);

    it('while others never stop writing, goes through all the same', async () => {
      await create('user');
      const target = await head();
      let stopped = false;
      let written = 0;
      let enough = (): void => undefined;
      const running = new Promise<void>((resolve) => {
        enough = resolve;
      });
      const writers = Array.from({ length: 32 }, async (_, i) => {
        for (let n = 0; !stopped; n++) {
          await test.ask('PUT', `${g}/mappings/w${i}`, { body: { prefix: `/w${i}/`, service: `svc${n}` } });
          if (++written === 500) enough();
        }
      });
      await running;
      const answer = await rollback({ toVersion: target });
      stopped = true;
      await Promise.all(writers);
      expect([answer.status, answer.json.equal]).toEqual([201, true]);
    }, 30_000);

    it.each<[string, Json, number, string, string]>([
      ['no reason', { toVersion: 1 }, 400, 'missing_field', '/reason'],
      ['an empty reason', { toVersion: 1, reason: ' \n' }, 422, 'reason_required', '/reason'],
      ['a reason with a control character', { toVersion: 1, reason: 'a\u0007' }, 400, 'reason_malformed', '/reason'],
      ['half a character', { toVersion: 1, reason: '\ud800' }, 400, 'reason_malformed', '/reason'],
      ['a reason without end', { toVersion: 1, reason: 'x'.repeat(1_001) }, 400, 'reason_malformed', '/reason'],
      ['no version', { reason: 'x' }, 400, 'missing_field', '/toVersion'],
      ['version 0', { toVersion: 0, reason: 'x' }, 422, 'version_not_found', '/toVersion'],
      ['a version to come', { toVersion: 2, reason: 'x' }, 422, 'version_not_found', '/toVersion'],
      ['a version beyond counting', { toVersion: 9_007_199_254_740_991, reason: 'x' }, 422, 'version_not_found', '/toVersion'],
      ['a version that is no number', { toVersion: '1', reason: 'x' }, 400, 'wrong_type', '/toVersion'],
      ['half a version', { toVersion: 1.5, reason: 'x' }, 400, 'wrong_type', '/toVersion'],
      ['a time that is none', { toVersion: 1, reason: 'x', confirmWithin: 'soon' }, 422, 'confirm_within_invalid', '/confirmWithin'],
      ['a time too long', { toVersion: 1, reason: 'x', confirmWithin: '25h' }, 422, 'confirm_within_invalid', '/confirmWithin'],
      ['an override that is none', { toVersion: 1, reason: 'x', overrideQuarantine: 'yes' }, 400, 'wrong_type', '/overrideQuarantine'],
      ['an unknown member', { toVersion: 1, reason: 'x', force: true }, 400, 'unknown_field', '/force'],
      ['no object', [], 400, 'body_not_object', ''],
    ])('is refused with %s', async (_title, body, status, code, pointer) => {
      for (const query of ['', '?dryRun=true']) {
        const answer = await test.ask('POST', `${g}/rollbacks${query}`, { body, headers: { 'if-match': '*' } });
        expect(answer.json).toMatchObject({ status, code, errors: [{ pointer, code }] });
      }
      expect(await head()).toBe(1);
    });

    it('needs a gateway, and the scope write', async () => {
      const nowhere = await test.ask('POST', '/v1/gateways/none/rollbacks', {
        body: { toVersion: 1, reason: 'x' },
        headers: { 'if-match': '*' },
      });
      expect(nowhere.json).toMatchObject({ status: 404, code: 'gateway_not_found' });
      const reader = await test.makeToken(['read']);
      for (const path of ['rollbacks', 'reverts', 'versions/1/confirm', 'quarantines'])
        expect((await test.ask('POST', `${g}/${path}`, { body: {}, token: reader.token })).json).toMatchObject({ status: 403 });
      expect((await test.ask('POST', `${g}/rollbacks`, { body: {}, token: null })).status).toBe(401);
    });
  });

  describe('a revert', () => {
    it('undoes one version and keeps what came after it', async () => {
      await create('user', { labels: { team: 'a' } }); // 2
      await patch('user', { timeoutMs: 60_000, labels: { team: 'b' } }); // 3
      await patch('user', { precedence: 7, labels: { tier: '1' } }); // 4
      const plan = await ok(revert({ version: 3 }, { query: '?dryRun=true' }));
      expect(plan.json).toMatchObject({ dryRun: true, basedOn: 4 });
      expect(await head()).toBe(4);
      const answer = await ok(revert({ version: 3 }, { headers: { 'if-match': plan.headers.etag } }), 201);
      expect(answer.json).toMatchObject({ version: 5, reverted: 3, unchanged: false });
      expect(answer.json.changes).toEqual(plan.json.changes);
      expect(answer.json.changes[0].diff.map(({ pointer }: { pointer: string }) => pointer)).toEqual(['/labels/team', '/timeoutMs']);
      expect(await read('user')).toMatchObject({ timeoutMs: 5_000, precedence: 7, labels: { team: 'a', tier: '1' } });
      expect(await version(5)).toMatchObject({ action: 'RevertVersion', reason: 'it was wrong', details: { version: 3 } });
      expect((await ok(revert({ version: 3 }))).json).toMatchObject({ version: 5, unchanged: true, changes: [] });
      expect((await ok(revert({ version: 5 }), 201)).json).toMatchObject({ version: 6, reverted: 5 });
      expect(await read('user')).toMatchObject({ timeoutMs: 60_000, precedence: 7, labels: { team: 'b', tier: '1' } });
    });

    it('of a creation ends it, of an end brings it back', async () => {
      await create('user'); // 2
      await remove('user'); // 3
      expect((await ok(revert({ version: 3 }), 201)).json.changes).toMatchObject([{ event: 'MappingCreated' }]);
      expect((await ok(revert({ version: 2 }), 201)).json.changes).toMatchObject([{ event: 'MappingDeleted' }]);
      expect(await names()).toEqual([]);
    });

    it('of a rollback brings back what it took away', async () => {
      await create('user');
      await create('grue');
      await ok(rollback({ toVersion: 1 }), 201); // 4
      await create('new');
      expect((await ok(revert({ version: 4 }), 201)).json.changes).toHaveLength(2);
      expect(await names()).toEqual(['grue', 'new', 'user']);
    });

    it('reports each member that has become something else since, with the version that did it, and does nothing', async () => {
      await create('user', { headers: { 'x-a': '1' } }); // 2
      await patch('user', { timeoutMs: 1_000, headers: { 'x-a': '2' }, precedence: 1 }); // 3
      await patch('user', { timeoutMs: 2_000 }); // 4
      await patch('user', { headers: { 'x-a': '3' } }); // 5
      await patch('user', { rewrite: '/r/' }); // 6
      const answer = await revert({ version: 3 });
      expect(answer.json).toMatchObject({ status: 409, code: 'revert_conflict' });
      expect(answer.json.conflicts).toEqual([
        { subject: 'mapping/user', pointer: '/headers/x-a', laterVersion: 5, message: expect.stringMatching(/another headers\/x-a now/) },
        { subject: 'mapping/user', pointer: '/timeoutMs', laterVersion: 4, message: expect.stringMatching(/another timeoutMs now/) },
      ]);
      expect((await revert({ version: 3 }, { query: '?dryRun=true' })).json).toMatchObject({ status: 409, code: 'revert_conflict' });
      expect(await head()).toBe(6);
      await remove('user'); // 7
      expect((await revert({ version: 3 })).json.conflicts).toMatchObject([{ pointer: '', laterVersion: 7 }]);
      await create('user', { service: 'other' }); // 8
      expect((await revert({ version: 7 })).json.conflicts).toMatchObject([{ pointer: '', laterVersion: 8 }]);
      expect((await revert({ version: 2 })).json.conflicts).toMatchObject([{ pointer: '', laterVersion: 8 }]);
    });

    it('does not take a match that somebody else holds by now', async () => {
      await create('user'); // 2
      await remove('user'); // 3
      await create('heir', { prefix: '/user/' }); // 4
      for (const query of ['?dryRun=true', '']) {
        expect((await revert({ version: 3 }, { query })).json).toMatchObject({
          status: 409,
          code: 'revert_conflict',
          conflicts: [{ subject: 'mapping/user', pointer: '', laterVersion: 4, message: expect.stringMatching(/mapping\/heir/) }],
        });
      }
    });

    it('names every match that others hold, not only the first', async () => {
      const several = ['a', 'b', 'c'];
      for (const name of several) await create(name); // 2, 3, 4
      await ok(rollback({ toVersion: 1 }), 201); // 5
      await create('heir', { prefix: '/a/' }); // 6
      await create('other', { prefix: '/c/' }); // 7
      const refused = await revert({ version: 5 });
      expect(refused.json.conflicts.map((one: { subject: string; laterVersion: number }) => [one.subject, one.laterVersion])).toEqual([
        ['mapping/a', 6],
        ['mapping/c', 7],
      ]);
      expect(refused.json.detail).toContain('and 1 more');
    });

    it('is checked against the settings of now', async () => {
      const loopback = await test.ask('PATCH', `${g}/settings`, { body: { allowLoopbackUpstreams: true } }); // 2
      expect(loopback.status).toBe(200);
      await create('local', { service: '127.0.0.1:9001' }); // 3
      await remove('local'); // 4
      await ok(test.ask('PATCH', `${g}/settings`, { body: { allowLoopbackUpstreams: false } })); // 5
      expect((await revert({ version: 4 })).json).toMatchObject({
        status: 409,
        conflicts: [{ subject: 'mapping/local', pointer: '/service' }],
      });
      expect((await revert({ version: 5 }, { token: writer })).json).toMatchObject({ status: 403, code: 'scope_missing' });
      await ok(revert({ version: 5 }), 201);
      await ok(revert({ version: 4 }, { token: writer }), 201);
    });

    it('holds to If-Match and to its key', async () => {
      await create('user');
      await create('grue');
      expect((await revert({ version: 2 }, { headers: { 'if-match': '"g2"' } })).json).toMatchObject({ status: 412, currentVersion: 3 });
      const ask = () => revert({ version: 2 }, { headers: { 'idempotency-key': `revert-key-${made}` } });
      const [first, second] = [await ok(ask(), 201), await ok(ask(), 201)];
      expect(second.json).toEqual(first.json);
      expect(await head()).toBe(4);
    });

    it('of the creation of a gateway, of no version, or without a reason is refused', async () => {
      expect((await revert({ version: 1 })).json).toMatchObject({ status: 409, code: 'gateway_stays', errors: [{ pointer: '/version' }] });
      for (const number of [0, -1, 2, 9_007_199_254_740_991])
        expect((await revert({ version: number })).json).toMatchObject({
          status: 422,
          code: 'version_not_found',
          errors: [{ pointer: '/version' }],
        });
      expect((await revert({ version: 1, reason: '' })).json).toMatchObject({ status: 422, code: 'reason_required' });
      expect((await test.ask('POST', '/v1/gateways/none/reverts', { body: { version: 1, reason: 'x' } })).json).toMatchObject({
        status: 404,
      });
    });

    it('goes through while others write other things', async () => {
      await create('user');
      const writes = Array.from({ length: 100 }, (_, i) => create(`w${i}`));
      await ok(revert({ version: 2 }), 201);
      await Promise.all(writes);
      expect(await names()).toHaveLength(100);
    }, 30_000);
  });

  describe('a confirmation', () => {
    const confirmations = async (query = '') => (await ok(test.ask('GET', `${g}/confirmations${query}`))).json.items;
    const confirm = (number: number | string, more: TestRequest & { query?: string } = {}) =>
      test.ask('POST', `${g}/versions/${number}/confirm${more.query ?? ''}`, more);

    it('is asked for in the body or the query, and given once', async () => {
      await create('user'); // 2
      await patch('user', { timeoutMs: 1 }, '?confirmWithin=90s'); // 3
      await ok(revert({ version: 3, confirmWithin: '1h' }, { query: '?confirmWithin=5m' }), 201); // 4
      await ok(rollback({ toVersion: 3 }, { query: '?confirmWithin=5m' }), 201); // 5
      const open = await confirmations('?state=open');
      expect(open).toMatchObject([5, 4, 3].map((number) => ({ version: number, state: 'open', settledAt: null, conflicts: [] })));
      const minutes = open.map(({ deadline }: { deadline: string }) => Math.round((Date.parse(deadline) - Date.now()) / 60_000));
      expect(minutes).toEqual([5, 60, expect.any(Number)]);
      expect(minutes[2]).toBeLessThanOrEqual(2);
      expect((await ok(confirm(4, { query: '?dryRun=true' }))).json).toMatchObject({
        dryRun: true,
        changes: [{ event: 'VersionConfirmed' }],
      });
      const first = await ok(confirm(4, { body: { reason: 'seen it work' } }));
      expect(first.json).toEqual({
        version: 4,
        state: 'confirmed',
        confirmedBy: expect.stringMatching(/^token\//),
        confirmedAt: expect.any(String),
      });
      const second = await ok(confirm(4, { token: writer }));
      expect(second.json).toEqual(first.json);
      expect((await confirmations('?state=confirmed'))[0]).toMatchObject({
        version: 4,
        reason: 'seen it work',
        confirmedBy: first.json.confirmedBy,
      });
      expect(await confirmations('?limit=1')).toHaveLength(1);
      const page = await test.ask('GET', `${g}/confirmations?limit=2`);
      expect((await test.ask('GET', `${g}/confirmations?limit=2&cursor=${page.json.next}`)).json).toMatchObject({
        items: [{ version: 3 }],
        next: null,
      });
    });

    it('comes too late after the deadline, by the clock of the database', async () => {
      await create('user');
      await patch('user', { timeoutMs: 1 }, '?confirmWithin=1h'); // 3
      const owner = openDatabase({ url: test.database.ownerUrl, applicationName: 'spec' }); // the application cannot move a deadline
      await sqlQuery(owner.db, 'UPDATE chancery.confirmation SET deadline = clock_timestamp() WHERE stream = $1', [`gateway/g${made}`]);
      await owner.close();
      expect((await confirm(3)).json).toMatchObject({ status: 409, code: 'confirmation_expired' });
      expect((await confirmations())[0]).toMatchObject({ version: 3, state: 'open' });
    });

    it('is for a version that asked for it', async () => {
      await create('user');
      for (const number of ['2', '9', '0', 'x', '99999999999999999999', '-1'])
        expect((await confirm(number)).json).toMatchObject({ status: 404, code: 'confirmation_not_found' });
      expect((await test.ask('POST', '/v1/gateways/none/versions/1/confirm', {})).json).toMatchObject({
        status: 404,
        code: 'gateway_not_found',
      });
      expect((await test.ask('GET', '/v1/gateways/none/confirmations')).json).toMatchObject({ status: 404, code: 'gateway_not_found' });
      expect((await confirm(2, { body: { because: 'x' } })).json).toMatchObject({ status: 400, code: 'unknown_field' });
    });
  });

  describe('a quarantine', () => {
    const quarantine = (body: Record<string, Json>, query = '') =>
      test.ask('POST', `${g}/quarantines${query}`, { body: { reason: 'it eats requests', ...body } });

    it('keeps a state from coming back, unless that is asked for by name', async () => {
      await create('user', { service: 'bad' }); // 2
      await patch('user', { service: 'good' }); // 3
      const made_ = await ok(quarantine({ subject: 'mapping/user', version: 2 }), 201);
      expect(made_.json).toMatchObject({
        subject: 'mapping/user',
        gatewayVersion: 2,
        reason: 'it eats requests',
        quarantinedBy: expect.stringMatching(/^token/),
      });
      const { id, digest } = made_.json;
      expect(made_.headers.location).toBe(`${g}/quarantines/${id}`);
      expect((await ok(test.ask('GET', `${g}/quarantines/${id}`))).json).toEqual(made_.json);
      expect((await ok(test.ask('GET', `${g}/quarantines`))).json).toEqual({ items: [made_.json], next: null });
      const then = (await version(2)).events[0].state;
      expect(digest).toBe(contentHash(then));

      for (const refused of [
        await rollback({ toVersion: 2 }),
        await revert({ version: 3 }),
        await rollback({ toVersion: 2 }, { query: '?dryRun=true' }),
      ]) {
        expect(refused.json).toMatchObject({ status: 409, code: 'state_quarantined', detail: expect.stringMatching(/it eats requests/) });
        expect(refused.json.quarantined).toEqual([{ subject: 'mapping/user', digest, id, reason: 'it eats requests' }]);
      }
      expect(await head()).toBe(3);
      await ok(revert({ version: 3, overrideQuarantine: true }), 201);
      expect(await version(4)).toMatchObject({ details: { version: 3, overriddenQuarantines: [id] } });
      await patch('user', { service: 'good' });
      await ok(rollback({ toVersion: 2, overrideQuarantine: true }), 201);
      expect(await version(6)).toMatchObject({ details: { toVersion: 2, overriddenQuarantines: [id] } });

      await patch('user', { service: 'good' });
      expect((await ok(test.ask('DELETE', `${g}/quarantines/${id}?dryRun=true`))).json).toMatchObject({ dryRun: true });
      expect((await ok(test.ask('DELETE', `${g}/quarantines/${id}`))).json).toEqual({ id, lifted: true });
      expect((await test.ask('DELETE', `${g}/quarantines/${id}`)).json).toMatchObject({ status: 404, code: 'quarantine_not_found' });
      expect((await test.ask('GET', `${g}/quarantines/${id}`)).json).toMatchObject({ status: 404, code: 'quarantine_not_found' });
      await ok(rollback({ toVersion: 2 }), 201);
    });

    it('is made once, by version or by digest', async () => {
      await create('user');
      const dry = await ok(quarantine({ subject: 'mapping/user', version: 2 }, '?dryRun=true'));
      expect(dry.json.changes).toMatchObject([{ event: 'StateQuarantined' }]);
      const first = await ok(quarantine({ subject: 'mapping/user', version: 2 }), 201);
      const again = await ok(quarantine({ subject: 'mapping/user', digest: first.json.digest, reason: 'another' }));
      expect(again.json).toEqual(first.json);
      const other = await ok(quarantine({ subject: 'mapping/other', digest: first.json.digest }), 201);
      expect(other.json.id).not.toBe(first.json.id);
      expect((await ok(test.ask('GET', `${g}/quarantines?limit=1`))).json.next).not.toBeNull();
    });

    it.each<[string, Record<string, Json>, number, string, string]>([
      ['an unknown kind', { subject: 'target/edge', version: 1 }, 422, 'subject_unknown', '/subject'],
      ['no name', { subject: 'mapping/', version: 1 }, 422, 'subject_unknown', '/subject'],
      ['a subject that nothing is called', { subject: 'mapping/a\u0000', version: 1 }, 422, 'subject_unknown', '/subject'],
      ['neither version nor digest', { subject: 'mapping/user' }, 422, 'version_or_digest', '/version'],
      ['both', { subject: 'gateway', version: 1, digest: 'a'.repeat(64) }, 422, 'version_or_digest', '/version'],
      ['a digest that is none', { subject: 'gateway', digest: 'A'.repeat(64) }, 422, 'digest_invalid', '/digest'],
      ['version 0', { subject: 'gateway', version: 0 }, 422, 'version_not_found', '/version'],
      ['a subject that was not there', { subject: 'mapping/user', version: 1 }, 422, 'state_not_found', '/version'],
      ['no reason', { subject: 'gateway', version: 1, reason: '' }, 422, 'reason_required', '/reason'],
    ])('is refused for %s', async (_title, body, status, code, pointer) => {
      expect((await quarantine(body)).json).toMatchObject({ status, code, errors: [{ pointer, code }] });
    });

    it('belongs to a gateway', async () => {
      expect((await test.ask('GET', '/v1/gateways/none/quarantines')).json).toMatchObject({ status: 404 });
      const nowhere = await test.ask('POST', '/v1/gateways/none/quarantines', { body: { subject: 'gateway', version: 1, reason: 'x' } });
      expect(nowhere.json).toMatchObject({ status: 404, code: 'gateway_not_found' });
    });
  });
});
