import { randomUUID } from 'node:crypto';
import { type ClientRequest, request as httpRequest } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';

import { newToken, secretHash } from '#features/access/token-format.js';
import { projectAudit, resetAudit } from '#features/audit/audit.projection.js';
import { readApiConfig } from '#platform/config/api-config.js';
import { openDatabase, sqlQuery } from '#platform/database/database.js';
import { createLog } from '#platform/log/log.js';

import { createTestDatabase } from '../../test/support/test-database.js';
import { startApi } from './src/api.js';
import { ask, startTestApi, type TestApi } from './test-api.js';

const g = '/v1/gateways/default';

/** What apps/projector does. */
async function project(test: TestApi): Promise<void> {
  while ((await projectAudit(test.api.database.db, { limit: 1_000, passedOver: [] })).more);
}

async function until(ask: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 10_000; !(await ask()); await sleep(10))
    if (performance.now() > end) throw new Error('not within 10 s');
}

interface Recorded {
  readonly type: string;
  readonly actor: string;
  readonly subject: string;
  readonly request_id: string | null;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into states of every shape
  readonly state: any;
}

/** The refusals in the log itself, oldest first. */
const recorded = (test: TestApi) =>
  sqlQuery<Recorded>(
    test.api.database.db,
    `SELECT e.type, e.subject, e.state, v.actor, v.request_id FROM chancery.event e JOIN chancery.version v USING (stream, version)
     WHERE e.stream = 'refusals' ORDER BY e.version, e.position`,
    [],
  );

/** How often each code was counted, in all floods. */
async function counted(test: TestApi): Promise<Record<string, number>> {
  const sums: Record<string, number> = {};
  const newest = new Map((await recorded(test)).filter(({ type }) => type === 'AttemptsCounted').map((one) => [one.subject, one.state]));
  for (const state of newest.values()) for (const { code, count } of state.counts) sums[code] = (sums[code] ?? 0) + count;
  return sums;
}

describe('refused attempts', () => {
  let test: TestApi;
  beforeAll(async () => {
    test = await startTestApi();
    await test.ask('POST', `${g}/mappings`, { body: { name: 'user', prefix: '/user/', service: 'usersvc' } });
  });
  afterAll(() => test.close());

  it('are recorded before they are answered, with where and never with what', async () => {
    const { id, token } = await test.makeToken(['read']);
    const headers = { 'x-request-id': 'the-request' };
    const tries = [
      ['POST', `${g}/mappings`, { token, body: { name: 'x' } }, 403, 'scope_missing'],
      ['POST', `${g}/mappings`, { body: { name: 'user', prefix: '/other/', service: 'b' } }, 409, 'mapping_exists'],
      ['PATCH', `${g}/mappings/user`, { body: { timeoutMs: 1 }, headers: { 'if-match': '"99"' } }, 412, 'version_mismatch'],
      ['PUT', `${g}/mappings/user?dryRun=true`, { body: { prefix: 'user/', service: 'b' } }, 422, 'path_not_absolute'],
      ['PUT', '/ambassador/mapping/user', { body: { prefix: 'user/', service: 'b' } }, 422, 'path_not_absolute'],
    ] as const;
    for (const [method, path, request, status] of tries) {
      const before = (await recorded(test)).length;
      const answer = await test.ask(method, path, {
        ...request,
        headers: { ...headers, ...('headers' in request ? request.headers : {}) },
      });
      expect([method, path, answer.status]).toEqual([method, path, status]);
      expect(await recorded(test)).toHaveLength(before + 1);
    }
    const all = await recorded(test);
    expect(all.map(({ type, state }) => [type, state.status, state.code])).toEqual(
      tries.map(([, , , status, code]) => ['AttemptRefused', status, code]),
    );
    expect(all.map(({ request_id }) => request_id)).toEqual(tries.map(() => 'the-request'));
    expect(all[0]).toMatchObject({ actor: `token/${id}`, state: { gateway: 'default', subject: null, pointers: [], commandId: null } });
    expect(all[2]?.state).toMatchObject({
      method: 'PATCH',
      route: `/v1/gateways/:gateway/mappings/:mapping`,
      subject: 'mapping/user',
      dryRun: false,
    });
    expect(all[2]?.state.commandId).toMatch(/^[0-9a-f-]{36}$/);
    expect(all[3]?.state).toMatchObject({ dryRun: true, pointers: ['/prefix'] });
    expect(all[4]?.state).toMatchObject({ gateway: 'default', subject: 'mapping/user', route: '/ambassador/mapping/:name' });
    // A malformed body and an address that leads nowhere are no attempts at anything.
    for (const [path, body] of [
      [`${g}/mappings`, { nothing: 1 }],
      ['/v1/nowhere', {}],
    ] as const)
      await test.ask('POST', path, { body });
    expect(await recorded(test)).toHaveLength(tries.length);
  });

  it('by a token that has expired are its own; by one that is revoked, wrong or missing they are counted by address', async () => {
    const before = (await recorded(test)).length;
    const expired = await test.makeToken(['read'], { daysAgo: 2 });
    expect((await test.ask('GET', '/v1/gateways', { token: expired.token })).status).toBe(401);
    expect((await recorded(test)).slice(before)).toMatchObject([
      { actor: `token/${expired.id}`, state: { status: 401, code: 'token_expired' } },
    ]);
    const revoked = await test.makeToken(['read']);
    await test.ask('DELETE', `/v1/tokens/${revoked.id}`);
    for (const token of [null, 'nonsense', newToken().text, revoked.token]) await test.ask('GET', '/v1/gateways', { token });
    await until(async () => Object.values(await counted(test)).length === 4);
    expect(await counted(test)).toEqual({ token_missing: 1, token_malformed: 1, token_invalid: 1, token_revoked: 1 });
    const floods = (await recorded(test)).filter(({ type }) => type === 'AttemptsCounted');
    expect(floods.map(({ actor, subject }) => [actor, subject.replace(/\d{4}-.*/, '')])).toEqual(
      floods.map(() => ['anonymous', 'flood/address/127.0.0.1/']),
    );
  });

  it('wait for nobody: the head of the gateway may be held', async () => {
    const blocker = new pg.Client({ connectionString: test.database.adminUrl });
    await blocker.connect();
    await blocker.query("BEGIN; SELECT FROM chancery.stream WHERE stream = 'gateway/default' FOR UPDATE");
    try {
      const answer = await test.ask('POST', `${g}/mappings`, { body: { name: 'user', prefix: '/held/', service: 'b' } });
      expect([answer.status, answer.json.code]).toEqual([409, 'mapping_exists']);
    } finally {
      await blocker.end();
    }
  });

  it('are answered as audit_unavailable when they cannot be recorded', async () => {
    const before = (await recorded(test)).length;
    const blocker = new pg.Client({ connectionString: test.database.adminUrl });
    await blocker.connect();
    await blocker.query("BEGIN; SELECT FROM chancery.stream WHERE stream = 'refusals' FOR UPDATE");
    const clash = { body: { name: 'user', prefix: '/again/', service: 'b' } };
    try {
      const answer = await test.ask('POST', `${g}/mappings`, clash);
      expect([answer.status, answer.json.code]).toEqual([503, 'audit_unavailable']);
      expect(answer.headers['retry-after']).toBe('1');
      expect((await test.ask('POST', `${g}/mappings`, { body: { name: 'fine', prefix: '/fine/', service: 'b' } })).status).toBe(201); // nothing is refused here
    } finally {
      await blocker.end();
    }
    expect((await test.ask('POST', `${g}/mappings`, clash)).status).toBe(409);
    expect((await recorded(test)).length).toBeGreaterThan(before);
  }, 20_000);
});

describe('a flood of refusals', () => {
  it('is counted, not stored one by one, and not one is lost, at the end of the process either', async () => {
    const database = await createTestDatabase();
    const config = readApiConfig({ CHANCERY_API_LISTEN: '127.0.0.1:0', DATABASE_URL: database.url, CHANCERY_AMBASSADOR_STATUS: '200' });
    const now = Date.now();
    const api = await startApi({ config, log: createLog({ process: 'api', level: 'silent' }), now: () => now }); // one minute, however long it takes
    await api.ready;
    const { token, id } = await makeToken(api, ['read']);
    const url = new URL(api.url);
    const statuses = new Map<number, number>();
    const tries = Array.from({ length: 300 }, (_, i) => i);
    await Promise.all(
      tries.map(async (i) => {
        const path = i % 2 === 0 ? `${g}/mappings/m${i}` : `/ambassador/mapping/m${i}`;
        const { status } = await ask(url, 'PUT', path, { token, body: { prefix: '/a/', service: 'b' } });
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }),
    );
    for (let i = 0; i < 40; i++) await ask(url, 'GET', '/v1/gateways', { token: null });
    const writer = await makeToken(api, ['write']);
    const veiled = await ask(url, 'PUT', '/ambassador/mapping/x', { token: writer.token, body: { prefix: 'x/', service: 'b' } });
    expect([veiled.status, veiled.json.code]).toEqual([200, 'path_not_absolute']); // the original's 200, and yet a refusal
    await api.close(); // at once: what is counted and not recorded yet is recorded now
    expect([...statuses]).toEqual([[403, 300]]);
    const reader = openDatabase({ url: database.url, applicationName: 'spec' });
    const test = { api: { database: reader } } as unknown as TestApi;
    const all = await recorded(test);
    expect(all.filter(({ type, actor }) => type === 'AttemptRefused' && actor === `token/${id}`)).toHaveLength(60);
    expect(await counted(test)).toEqual({ scope_missing: 240, token_missing: 40 });
    expect(all.filter(({ actor }) => actor === `token/${writer.id}`).map(({ state }) => state.status)).toEqual([422]);
    expect(all.filter(({ type }) => type === 'AttemptsCounted').length).toBeLessThan(20);
    await project(test);
    const [sums] = await sqlQuery<{ of_token: number; of_nobody: number }>(
      reader.db,
      `SELECT sum(count) FILTER (WHERE actor = $1 AND category = 'refusal') AS of_token, sum(count) FILTER (WHERE actor = 'anonymous' AND code = 'token_missing') AS of_nobody FROM chancery.audit`,
      [`token/${id}`],
    );
    expect(sums).toEqual({ of_token: 300, of_nobody: 40 });
    await reader.close();
    await database.drop();
  }, 30_000);
});

/** Straight into the log, as a token was made before first uses were recorded: its state does not have the member. */
async function makeToken(api: TestApi['api'], scopes: readonly string[]): Promise<{ token: string; id: string }> {
  const { id, secret, text } = newToken();
  const state = {
    id,
    name: 'old',
    scopes,
    secretSha256: secretHash(secret).toString('hex'),
    createdAt: '2026-01-01T00:00:00.000Z',
    expiresAt: new Date(Date.now() + 86_400_000).toISOString(),
    createdBy: 'system',
    revokedAt: null,
  };
  const context = { commandId: randomUUID(), action: 'CreateToken', actor: 'system' };
  await api.events.handle({ stream: 'access', subjects: [`token/${id}`], context }, () => [
    { type: 'TokenCreated', schemaVersion: 1, subject: `token/${id}`, state },
  ]);
  return { token: text, id };
}

describe('the first use of a token', () => {
  let test: TestApi;
  beforeAll(async () => {
    test = await startTestApi();
  });
  afterAll(() => test.close());

  it('is recorded once, whoever races, and shown; states from before read fine', async () => {
    const config = readApiConfig({ CHANCERY_API_LISTEN: '127.0.0.1:0', DATABASE_URL: test.database.url });
    const other = await startApi({ config, log: createLog({ process: 'other', level: 'silent' }) });
    await other.ready;
    const fresh = await test.makeToken(['read']);
    const old = await makeToken(test.api, ['read']);
    const shown = async (id: string) => (await test.ask('GET', `/v1/tokens/${id}`)).json.firstUsedAt;
    expect([await shown(fresh.id), await shown(old.id)]).toEqual([null, null]);
    for (const { token, id } of [fresh, old]) {
      const answers = await Promise.all(
        [test.api, other].flatMap(({ url }) => Array.from({ length: 8 }, () => ask(new URL(url), 'GET', '/v1/gateways', { token }))),
      );
      expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
      const events = await sqlQuery<{ type: string; actor: string }>(
        test.api.database.db,
        `SELECT e.type, v.actor FROM chancery.event e JOIN chancery.version v USING (stream, version) WHERE e.stream = 'access' AND e.subject = $1 ORDER BY e.version`,
        [`token/${id}`],
      );
      expect(events).toEqual([
        { type: 'TokenCreated', actor: 'system' },
        { type: 'TokenFirstUsed', actor: `token/${id}` },
      ]);
      expect(Date.parse(await shown(id))).toBeGreaterThan(Date.now() - 60_000);
    }
    expect((await test.ask('GET', '/v1/tokens')).json.items.find((one: { id: string }) => one.id === old.id).firstUsedAt).toBe(
      await shown(old.id),
    );
    expect((await test.ask('DELETE', `/v1/tokens/${old.id}`)).status).toBe(200);
    await other.close();
  });

  it('does not happen when it cannot be recorded', async () => {
    const { token } = await test.makeToken(['read']);
    const blocker = new pg.Client({ connectionString: test.database.adminUrl });
    await blocker.connect();
    await blocker.query("BEGIN; SELECT FROM chancery.stream WHERE stream = 'access' FOR UPDATE");
    try {
      const answer = await test.ask('GET', '/v1/gateways', { token });
      expect([answer.status, answer.json.code]).toEqual([503, 'database_unavailable']);
    } finally {
      await blocker.end();
    }
    expect((await test.ask('GET', '/v1/gateways', { token })).status).toBe(200);
  }, 20_000);
});

describe('GET /v1/audit', () => {
  let test: TestApi;
  const list = async (query = '') => (await test.ask('GET', `/v1/audit${query}`)).json.items;
  const exported = (accept: string, query = '') => test.ask('GET', `/v1/audit${query}`, { headers: { accept } });
  const create = (name: string) =>
    test.ask('POST', `${g}/mappings?reason=for%20${name}`, { body: { name, prefix: `/${name}/`, service: 'usersvc' } });
  beforeAll(async () => {
    test = await startTestApi();
    for (let i = 0; i < 30; i++) expect((await create(`m${i}`)).status).toBe(201);
    await test.ask('POST', `${g}/mappings`, { body: { name: 'm1', prefix: '/other/', service: 'b' } });
    await project(test);
  });
  afterAll(() => test.close());

  it('needs the scope audit, which no other implies', async () => {
    const others = await test.makeToken(['read', 'write', 'deploy', 'admin', 'agent:*']);
    expect((await test.ask('GET', '/v1/audit', { token: others.token })).json).toMatchObject({ status: 403, missingScopes: ['audit'] });
    const auditor = await test.makeToken(['audit']);
    expect((await test.ask('GET', '/v1/audit', { token: auditor.token })).status).toBe(200);
    expect((await test.ask('GET', '/v1/gateways', { token: auditor.token })).status).toBe(403);
    await project(test);
  });

  it('is one trail, newest first, by every filter', async () => {
    const all = await list('?limit=1000');
    expect(all.map((row: { position: number }) => row.position)).toEqual(all.map((_: unknown, i: number) => all.length - i));
    const [made] = await list('?subject=mapping/m3');
    expect(made).toMatchObject({
      category: 'configuration',
      stream: 'gateway/default',
      gateway: 'default',
      action: 'CreateMapping',
      result: 'accepted',
      status: null,
      reason: 'for m3',
      count: 1,
    });
    const version = (await test.ask('GET', `${g}/versions/${made.version}`)).json;
    expect([made.hash, made.commandId, made.requestId, made.at]).toEqual([
      version.hash,
      version.commandId,
      version.requestId,
      version.recordedAt,
    ]);
    const [refused] = await list('?code=mapping_exists');
    expect(refused).toMatchObject({ category: 'refusal', gateway: 'default', result: 'refused', status: 409 });
    const { actor } = made;
    for (const [query, fits] of [
      [`?actor=${actor}&limit=1000`, (row: typeof made) => row.actor === actor],
      ['?action=CreateMapping&limit=1000', (row: typeof made) => row.action === 'CreateMapping'],
      ['?result=refused&limit=1000', (row: typeof made) => row.result === 'refused'],
      ['?category=access&limit=1000', (row: typeof made) => row.category === 'access'],
      ['?gateway=default&limit=1000', (row: typeof made) => row.gateway === 'default'],
      [`?since=${made.at}&limit=1000`, (row: typeof made) => row.at >= made.at],
      [`?until=${made.at}&limit=1000`, (row: typeof made) => row.at < made.at],
      ['?q=for%20M3&limit=1000', (row: typeof made) => row.reason === 'for m3'],
      [`?q=${made.requestId}&limit=1000`, (row: typeof made) => row.requestId === made.requestId],
      [
        `?actor=${actor}&action=CreateMapping&subject=mapping/m3&result=accepted&gateway=default&category=configuration&q=m3`,
        (row: typeof made) => row === all.find((one: typeof made) => one.position === made.position),
      ],
    ] as const) {
      const expected = all.filter(fits);
      expect([query, expected.length > 0, await list(query)]).toEqual([query, true, expected]);
    }
  });

  it('is paged; a cursor does not outlive the trail that it was handed out for', async () => {
    const all = await list('?limit=1000');
    const pages: unknown[] = [];
    let path = '/v1/audit?limit=7';
    for (;;) {
      const page = await test.ask('GET', path);
      pages.push(...page.json.items);
      if (page.json.next === null) break;
      path = /<(.*?)>/.exec(page.headers.link ?? '')?.[1] ?? '';
    }
    expect(pages).toEqual(all);
    const { next } = (await test.ask('GET', '/v1/audit?limit=7')).json;
    await test.api.database.db.transaction().execute((tx) => resetAudit(tx));
    const lagging = await test.ask('GET', '/v1/audit');
    expect([lagging.json.items, Number(lagging.headers['chancery-audit-lag'])]).toEqual([[], all.length]);
    expect(
      (await test.ask('GET', '/v1/audit?limit=7', { headers: { accept: 'text/event-stream', 'last-event-id': '5' } })).json,
    ).toMatchObject({ status: 410, code: 'cursor_gone' });
    expect((await exported('text/csv', '?after=5')).json).toMatchObject({ status: 410, code: 'cursor_gone' });
    await project(test);
    expect((await test.ask('GET', `/v1/audit?limit=7&cursor=${next}`)).json).toMatchObject({
      status: 410,
      code: 'cursor_gone',
      title: 'Gone',
    });
    const again = await test.ask('GET', '/v1/audit?limit=1000');
    expect(again.json.items).toEqual(all); // streams are put together in the order of their times
    expect(again.headers['chancery-audit-lag']).toBe('0');
  });

  it.each([
    ['?limit=0', '/limit'],
    ['?limit=1001', '/limit'],
    ['?result=odd', '/result'],
    ['?category=odd', '/category'],
    ['?since=yesterday', '/since'],
    ['?until=2026-02-30T00:00:00Z', '/until'],
    ['?q=---', '/q'],
    ['?q=', '/q'],
    ['?subject=a%0Ab', '/subject'],
    [`?actor=${'x'.repeat(201)}`, '/actor'],
    ['?after=1', '/after'],
    ['?cursor=nonsense', '/cursor'],
    ['?colour=red', '/colour'],
    ['?actor=a&actor=b', '/actor'],
  ])('refuses %s', async (query, pointer) => {
    const answer = await test.ask('GET', `/v1/audit${query}`);
    expect([answer.status, answer.json.errors[0].pointer]).toEqual([400, pointer]);
  });

  it('bears any text to look for', async () => {
    for (const q of ["a'b", 'a\\b', "\\'x", '!a & (b | c):*', "x' <-> 'y", 'ü', '\u{1F600} x', 'a'.repeat(200), '%25_'])
      expect([q, (await test.ask('GET', `/v1/audit?q=${encodeURIComponent(q)}`)).json.items]).toEqual([q, []]);
  });

  it('is exported whole or in part, oldest first, and goes on after a position', async () => {
    const all = (await list('?limit=1000')).reverse();
    const ndjson = await exported('application/x-ndjson');
    expect(ndjson.headers['content-type']).toBe('application/x-ndjson');
    const lines = (text: string) =>
      text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line));
    expect(lines(ndjson.text)).toEqual(all);
    expect(lines((await exported('application/x-ndjson', '?after=5&limit=3')).text)).toEqual(all.slice(5, 8));
    expect(lines((await exported('application/x-ndjson', '?action=CreateMapping')).text)).toEqual(
      all.filter((row: { action: string }) => row.action === 'CreateMapping'),
    );
    expect((await exported('application/x-ndjson', `?after=${all.length}`)).text).toBe('');
    const csv = await exported('text/csv');
    expect(csv.headers['content-type']).toMatch(/^text\/csv/);
    const rows = csv.text.trimEnd().split('\r\n');
    expect(rows[0]).toMatch(/^position,at,category,/);
    expect(rows).toHaveLength(all.length + 1);
    const rest = await exported('text/csv', `?after=${all.length - 2}`);
    expect(rest.text).toBe(`${rows.slice(-2).join('\r\n')}\r\n`);
    expect((await exported('text/csv', '?cursor=x')).json.errors[0].pointer).toBe('/cursor');
  });

  it('is exported no faster than it is read, in many queries', async () => {
    await sqlQuery(
      test.api.database.db,
      `INSERT INTO chancery.audit SELECT 100000 + i, 'other', i, now(), now(), 'other', NULL, 'Filler', 'system', 'accepted', NULL, NULL, 1, gen_random_uuid(), '{}', 0, '' FROM generate_series(1, 60000) i`,
      [],
    );
    await sqlQuery(test.api.database.db, 'UPDATE chancery.audit_projection SET position = 160000', []);
    try {
      const { heldAt, total } = await readSlowly('/v1/audit?action=Filler');
      expect(heldAt).toBeLessThan(total / 2);
      expect(total).toBeGreaterThan(10_000_000);
    } finally {
      await sqlQuery(test.api.database.db, `DELETE FROM chancery.audit WHERE action = 'Filler'`, []);
      await sqlQuery(
        test.api.database.db,
        'UPDATE chancery.audit_projection SET position = (SELECT max(position) FROM chancery.audit)',
        [],
      );
    }
  }, 60_000);

  /** Bytes that the server had made while nobody read, by its socket's count, and in all. */
  const readSlowly = (path: string): Promise<{ heldAt: number; total: number }> =>
    new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${test.token}`, accept: 'application/x-ndjson' };
      const outgoing = httpRequest(new URL(path, test.api.url), { headers }, (incoming) => {
        let heldAt = 0;
        let total = 0;
        incoming.pause();
        setTimeout(() => {
          heldAt = outgoing.socket?.bytesRead ?? 0; // what came into the buffers of this side; the rest waits at the other
          incoming.on('data', (chunk: Buffer) => {
            total += chunk.length;
          });
          incoming.on('end', () => resolve({ heldAt, total }));
          incoming.resume();
        }, 1_500);
        incoming.on('error', reject);
      });
      outgoing.on('error', reject);
      outgoing.end();
    });

  /** Follows the trail until `stop` says so. */
  const follow = (
    query: string,
    headers: Record<string, string>,
    stop: (events: { id: number; data: { action: string } }[], text: string) => boolean,
  ) => {
    let outgoing: ClientRequest;
    const events: { id: number; data: { action: string; position: number } }[] = [];
    const done = new Promise<typeof events>((resolve, reject) => {
      outgoing = httpRequest(
        new URL(`/v1/audit${query}`, test.api.url),
        { headers: { authorization: `Bearer ${test.token}`, accept: 'text/event-stream', ...headers } },
        (incoming) => {
          let text = '';
          let rest = '';
          incoming.on('data', (chunk) => {
            text += chunk;
            rest += chunk;
            for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n')) {
              const [id, , data] = rest.slice(0, end).split('\n');
              rest = rest.slice(end + 2);
              if (data !== undefined) events.push({ id: Number(id?.slice(4)), data: JSON.parse(data.slice(6)) });
            }
            if (!stop(events, text)) return;
            outgoing.destroy();
            resolve(events);
          });
          incoming.on('end', () => reject(new Error('the stream ended')));
        },
      );
      outgoing.on('error', (error) => (outgoing.destroyed ? undefined : reject(error)));
      outgoing.end();
    });
    return { done, close: () => outgoing.destroy() };
  };

  it('is followed live within a second, from now on or after the last event that was seen', async () => {
    const [newest] = await list('?limit=1');
    let heard = false;
    const watching = follow('?category=configuration', {}, (events, text) => {
      heard ||= text.includes(': still here');
      return events.length === 2;
    });
    await until(async () => heard);
    await create('followed1');
    const start = performance.now();
    await project(test);
    await create('followed2');
    await project(test);
    const seen = await watching.done;
    expect(performance.now() - start).toBeLessThan(2_000);
    expect(seen.map(({ data }) => data.action)).toEqual(['CreateMapping', 'CreateMapping']);
    expect(seen.map(({ id, data }) => id === data.position && id > newest.position)).toEqual([true, true]);
    const missed = await follow('?category=configuration', { 'last-event-id': String(seen[0]?.id) }, (events) => events.length === 1).done;
    expect(missed[0]).toEqual(seen[1]);
    expect((await test.ask('GET', '/v1/audit', { headers: { accept: 'text/event-stream', 'last-event-id': 'x' } })).status).toBe(400);
  }, 20_000);
});

describe('an export and a follower that nobody reads', () => {
  it('do not keep the process from ending, and do not look whole', async () => {
    const test = await startTestApi();
    await project(test);
    await sqlQuery(
      test.api.database.db,
      `INSERT INTO chancery.audit SELECT 100000 + i, 'other', i, now(), now(), 'other', NULL, 'Filler', 'system', 'accepted', NULL, NULL, 1, gen_random_uuid(), '{}', 0, '' FROM generate_series(1, 60000) i`,
      [],
    );
    await sqlQuery(test.api.database.db, 'UPDATE chancery.audit_projection SET position = 160000', []);
    const open = (accept: string) =>
      new Promise<{ over: Promise<string> }>((resolve, reject) => {
        const headers = { authorization: `Bearer ${test.token}`, accept };
        const outgoing = httpRequest(new URL('/v1/audit', test.api.url), { headers }, (incoming) => {
          const over = new Promise<string>((end) => {
            incoming.on('error', () => end('cut off'));
            incoming.on('end', () => end('ended'));
          });
          setTimeout(() => incoming.resume(), 1_000); // nobody reads before the process is ending
          resolve({ over });
        });
        outgoing.on('error', reject);
        outgoing.end();
      });
    const [whole, followed] = [await open('application/x-ndjson'), await open('text/event-stream')];
    const start = performance.now();
    await test.close();
    expect(performance.now() - start).toBeLessThan(5_000);
    expect([await whole.over, await followed.over]).toEqual(['cut off', 'ended']);
  }, 20_000);
});

describe('what must stay secret', () => {
  it('is in no table of the trail, no refusal, no log line and no export', async () => {
    const test = await startTestApi();
    const marker = (name: string) => `canary-${name}-${'7f3a'}`;
    const values = {
      label: marker('label'),
      header: marker('header'),
      service: marker('service'),
      fingerprint: marker('fingerprint'),
      reason: marker('reason'),
      whole: marker('whole'),
      principal: marker('principal'),
    };
    const { token: secret, id } = await test.makeToken(['read']);
    const { token: writer } = await test.makeToken(['write', 'read']);
    const named = await test.ask('POST', '/v1/tokens', { body: { name: marker('name'), scopes: ['root'] } }); // refused: the name is a value of its body
    const body = {
      name: 'fine',
      prefix: 'no-slash',
      service: values.service,
      labels: { team: values.label },
      headers: { 'x-a': values.header },
    };
    const refusals = [
      named,
      await test.ask('POST', `${g}/mappings?reason=${values.reason}`, { token: secret, body }),
      await test.ask('POST', `${g}/mappings?reason=${values.reason}`, { token: writer, body }),
      await test.ask('PUT', `${g}/mappings/x?dryRun=true`, {
        token: writer,
        body: { ...body, name: 'x' },
        headers: { 'chancery-reason': values.reason },
      }),
      await test.ask('PUT', '/ambassador/mapping/fine', { token: writer, body: { prefix: values.whole, service: 'b' } }),
      await test.ask('PUT', `${g}/mappings/fine`, {
        token: writer,
        body: { prefix: '/a/', service: 'b', labels: { [secret]: secret, key: values.label.repeat(99) } },
      }),
      await test.ask('POST', '/ambassador/principal/alice', { token: secret, body: { fingerprint: values.fingerprint } }),
      await test.ask('POST', '/v1/tokens', { token: writer, body: { name: secret, scopes: ['admin'] } }),
      await test.ask('DELETE', `/v1/tokens/${secret}`, { token: writer }),
      await test.ask('GET', `/v1/gateways/${secret}/mappings/${secret}`, { token: null, headers: { 'x-request-id': secret } }),
      await test.ask('PUT', `/v1/gateways/${secret}/mappings/${secret}`, { token: secret, body: {}, headers: { 'x-request-id': secret } }),
      await test.ask('GET', '/v1/gateways', { token: `${secret.slice(0, -1)}-` }),
    ];
    expect(refusals.map(({ status }) => status)).toEqual([422, 403, 422, 422, 422, 422, 403, 403, 403, 401, 403, 401]);
    await until(async () => Object.keys(await counted(test)).length === 2);
    await project(test);
    const places = {
      log: test.logged(),
      json: (await test.ask('GET', '/v1/audit?limit=1000')).text,
      ndjson: (await test.ask('GET', '/v1/audit', { headers: { accept: 'application/x-ndjson' } })).text,
      csv: (await test.ask('GET', '/v1/audit', { headers: { accept: 'text/csv' } })).text,
      tokens: (await test.ask('GET', '/v1/tokens')).text,
      ...Object.fromEntries(
        await Promise.all(
          ['audit', 'audit_subject', 'audit_cursor', 'version', 'event', 'subject', 'subject_history'].map(async (table) => {
            const rows = await sqlQuery(test.api.database.db, `SELECT t::text AS row FROM chancery.${table} t`, []);
            return [table, JSON.stringify(rows)];
          }),
        ),
      ),
    } as Record<string, string>;
    const part = secret.slice(-43); // the secret itself; what stands before it names the token
    for (const [place, text] of Object.entries(places)) {
      expect([place, text.length > 0, text.includes(part), text.includes(part.slice(0, -1))]).toEqual([place, true, false, false]);
      for (const [name, value] of Object.entries({ ...values, name: marker('name') })) {
        expect([place, name, text.includes(value)]).toEqual([place, name, false]);
      }
    }
    expect(places.event).toContain(`token/${id}`);
    const pointers = (await recorded(test)).flatMap(({ state }) => state.pointers ?? []);
    expect(pointers.join(' ')).not.toContain(part);
    await test.close();
  }, 30_000);
});
