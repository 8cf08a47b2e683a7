import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

import { AttemptLimiter } from '#features/access/attempt-limiter.js';
import { readApiConfig } from '#platform/config/api-config.js';
import type { DescribedRoute } from '#platform/http/openapi.js';

import { createLog } from '#platform/log/log.js';

import { startApi } from './src/api.js';
import { ask, startTestApi, type TestAnswer, type TestApi } from './test-api.js';

const PUBLIC = ['GET /ambassador/health', 'GET /healthz', 'GET /readyz'];

/** A limiter that forgives at once: this file fails on purpose, hundreds of times. */
function forgiving(): AttemptLimiter {
  let now = 0;
  return new AttemptLimiter(() => (now += 1_000_000));
}

/** A path of the route, as a client would write it. */
function pathOf(url: string): string {
  return url.replaceAll(':gateway', 'default').replaceAll(/:[a-z]+/g, 'x1');
}

/** Other spellings of a path, by which a guard that looks at strings has been fooled before. */
function spellings(path: string): string[] {
  const hex = (character: string) => `%${character.charCodeAt(0).toString(16)}`;
  return [
    path.replace(/[a-z]/, hex),
    path.replaceAll(/[a-z]/g, hex),
    path.replace('/', '/%2e/'),
    path.replace(/\/([a-z0-9]+)/, '/x/%2e%2e/$1'),
    path.replace(/\/([a-z0-9]+)/, '/x/../$1'),
    `/${path}`,
    path.replaceAll('/', '//'),
    `${path}/`,
    `${path}//`,
    `${path}%2f`,
    `${path}%00`,
    `${path};a=b`,
    `${path}?token=x&dryRun=true`,
    path.toUpperCase(),
    `http://localhost${path}`,
  ];
}

describe('access', () => {
  let test: TestApi;
  let closed: DescribedRoute[];
  beforeAll(async () => {
    test = await startTestApi({}, { limiter: forgiving() });
    closed = test.api.descriptions.filter((route) => !route.public);
  });
  afterAll(() => test.close());

  const eachClosed = async (check: (route: DescribedRoute, method: string, path: string) => Promise<void>) => {
    const before = await test.countEvents();
    for (const route of closed) {
      for (const method of route.method === 'GET' ? ['GET', 'HEAD'] : [route.method]) await check(route, method, pathOf(route.url));
    }
    expect(await test.countEvents()).toBe(before);
  };

  it('knows every route that is registered, and each says who may use it', () => {
    const registered = test.api.routes.all().map(({ method, url }) => `${method} ${url}`);
    const described = test.api.descriptions.map(({ method, url }) => `${method} ${url}`);
    const withHead = described.flatMap((route) => (route.startsWith('GET ') ? [route, route.replace('GET', 'HEAD')] : [route]));
    expect([...registered].sort()).toEqual([...withHead].sort());
    expect(closed.filter((route) => route.scopes.length === 0)).toEqual([]);
    expect(described.filter((route) => !closed.some(({ method, url }) => `${method} ${url}` === route)).sort()).toEqual(PUBLIC);
    expect(closed.length).toBeGreaterThan(30);
  });

  it('refuses every route without a token, and says how to bring one', async () => {
    await eachClosed(async (_route, method, path) => {
      const answer = await test.ask(method, path, { token: null });
      expect([method, path, answer.status]).toEqual([method, path, 401]);
      expect(answer.headers['www-authenticate']).toMatch(/^Bearer realm=.*Basic realm=/);
    });
  });

  it.each(['not a token', 'chy_0123456789abcdef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA', '', '%', 'Bearer', 'chy__'])(
    'refuses every route with the token %j',
    async (token) => {
      await eachClosed(async (_route, method, path) => {
        const answer = await test.ask(method, path, { token: null, headers: { authorization: `Bearer ${token}` } });
        expect([method, path, answer.status]).toEqual([method, path, 401]);
      });
    },
  );

  it('refuses every route to an expired, a revoked and a foreign token', async () => {
    const expired = await test.makeToken(['read', 'write', 'deploy', 'admin', 'certificates', 'audit'], { daysAgo: 2 });
    const revoked = await test.makeToken(['read', 'write', 'deploy', 'admin', 'certificates', 'audit']);
    expect((await test.ask('DELETE', `/v1/tokens/${revoked.id}`)).status).toBe(200);
    const other = await test.makeToken(['read', 'write', 'deploy', 'admin', 'certificates', 'audit']);
    const mixed = `${other.token.slice(0, 21)}${test.token.slice(21)}`; // one's id with another's secret
    for (const [token, code] of [
      [expired.token, 'token_expired'],
      [revoked.token, 'token_revoked'],
      [mixed, 'token_invalid'],
    ] as const) {
      await eachClosed(async (_route, method, path) => {
        const answer = await test.ask(method, path, { token });
        expect([method, path, answer.status]).toEqual([method, path, 401]);
        if (method !== 'HEAD') expect(answer.json.code).toBe(code);
      });
    }
  });

  it('refuses every route to a token that lacks one of its scopes', async () => {
    const all = ['read', 'write', 'deploy', 'admin', 'certificates', 'audit'];
    const without = new Map<string, string>();
    for (const scope of all) without.set(scope, (await test.makeToken([...all.filter((one) => one !== scope), 'agent:*'])).token);
    await eachClosed(async (route, method, path) => {
      for (const scope of route.scopes) {
        const answer = await test.ask(method, path, { token: without.get(scope) ?? '' });
        expect([method, path, scope, answer.status]).toEqual([method, path, scope, 403]);
      }
    });
  });

  it('is not fooled by another spelling of a path', async () => {
    const agent = await test.makeToken(['agent:*']);
    await eachClosed(async (_route, method, path) => {
      for (const spelling of spellings(path)) {
        for (const token of [null, agent.token]) {
          const answer = await test.ask(method, spelling, { token });
          expect([method, spelling, [400, 401, 403, 404, 405].includes(answer.status)]).toEqual([method, spelling, true]);
        }
      }
    });
  }, 120_000);

  it('takes the token as the password of Basic, so that http://x:TOKEN@host works', async () => {
    const authorization = `Basic ${Buffer.from(`x:${test.token}`).toString('base64')}`;
    expect((await test.ask('GET', '/ambassador/mappings', { token: null, headers: { authorization } })).status).toBe(200);
    expect((await test.ask('GET', '/v1/gateways', { token: null, headers: { authorization } })).status).toBe(200);
  });

  it('refuses a write that a page of another site started', async () => {
    const headers = { 'sec-fetch-site': 'cross-site' };
    const body = { name: 'cross', prefix: '/cross/', service: 'usersvc' };
    expect((await test.ask('POST', '/v1/gateways/default/mappings', { headers, body })).status).toBe(403);
    expect((await test.ask('GET', '/v1/gateways', { headers })).status).toBe(200);
  });
});

describe('tokens', () => {
  let test: TestApi;
  beforeAll(async () => {
    test = await startTestApi();
  });
  afterAll(() => test.close());

  const create = (body: object) => test.ask('POST', '/v1/tokens', { body: body as never });

  it('are shown once, listed without anything that could be used, and work', async () => {
    const answer = await create({ name: 'ci', scopes: ['read'], expiresInDays: 7 });
    expect(answer.status).toBe(201);
    expect(answer.json).toMatchObject({ name: 'ci', scopes: ['read'], state: 'active' });
    expect(answer.json.token).toMatch(/^chy_[0-9a-f]{16}_[A-Za-z0-9_-]{43}$/);
    const days = (Date.parse(answer.json.expiresAt) - Date.parse(answer.json.createdAt)) / 86_400_000;
    expect(days).toBeCloseTo(7);
    expect((await test.ask('GET', '/v1/gateways', { token: answer.json.token })).status).toBe(200);
    const secret = answer.json.token.slice('chy_0123456789abcdef_'.length);
    const list = await test.ask('GET', '/v1/tokens');
    expect(list.json.items.map((token: { id: string }) => token.id)).toContain(answer.json.id);
    expect(list.text).not.toContain(secret);
    expect(list.text).not.toMatch(/sha256|hash|[0-9a-f]{64}/i);
    expect((await test.ask('GET', `/v1/tokens/${answer.json.id}`)).text).not.toMatch(/sha256|hash|[0-9a-f]{64}/i);
  });

  it.each([
    [{}, 400, '/scopes'],
    [{ scopes: [] }, 422, '/scopes'],
    [{ scopes: ['root'] }, 422, '/scopes/0'],
    [{ scopes: ['agent:../x'] }, 422, '/scopes/0'],
    [{ scopes: ['read'], expiresInDays: 91 }, 422, '/expiresInDays'],
    [{ scopes: ['read'], expiresInDays: 0 }, 422, '/expiresInDays'],
    [{ scopes: ['read'], expiresInDays: 'never' }, 400, '/expiresInDays'],
    [{ scopes: ['read'], secretSha256: 'ab' }, 400, '/secretSha256'],
    [{ scopes: ['read'], name: 'a\u0000b' }, 422, '/name'],
  ])('refuses %j', async (body, status, pointer) => {
    const answer = await create(body);
    expect([answer.status, answer.json.errors[0].pointer]).toEqual([status, pointer]);
  });

  it('are refused within 5 s of their revocation, by another process too', async () => {
    const config = readApiConfig({ DATABASE_URL: test.database.url, CHANCERY_API_LISTEN: '127.0.0.1:0' });
    const other = await startApi({ config, log: createLog({ process: 'other', level: 'silent' }) });
    await other.ready;
    const { token, id } = await test.makeToken(['read']);
    const askBoth = () => Promise.all([test.api, other].map((api) => ask(new URL(api.url), 'GET', '/v1/gateways', { token })));
    expect((await askBoth()).map((answer) => answer.status)).toEqual([200, 200]); // believed for a while from here on
    expect((await test.ask('DELETE', `/v1/tokens/${id}`)).json).toMatchObject({ id, state: 'revoked' });
    const start = Date.now();
    let answers: TestAnswer[];
    do answers = await askBoth();
    while (answers.some((answer) => answer.status === 200) && Date.now() - start < 5_000);
    expect(answers.map((answer) => [answer.status, answer.json.code])).toEqual([
      [401, 'token_revoked'],
      [401, 'token_revoked'],
    ]);
    await other.close();
  }, 15_000);

  it('do not show a secret twice: the same Idempotency-Key gets a way out instead', async () => {
    const headers = { 'idempotency-key': 'token-key-0001' };
    const first = await test.ask('POST', '/v1/tokens', { body: { scopes: ['read'] }, headers });
    const second = await test.ask('POST', '/v1/tokens', { body: { scopes: ['read'] }, headers });
    expect([first.status, second.status]).toEqual([201, 409]);
    expect(second.json).toMatchObject({ code: 'secret_shown_once', tokenId: first.json.id });
  });

  it('write nothing on a dry run', async () => {
    const before = await test.countEvents();
    const answer = await test.ask('POST', '/v1/tokens?dryRun=true', { body: { scopes: ['read'] } });
    expect(answer.status).toBe(200);
    expect(answer.headers['dry-run']).toBe('true');
    expect(answer.text).not.toMatch(/chy_|[0-9a-f]{64}/);
    expect(await test.countEvents()).toBe(before);
  });

  it('answer 429 to a flood of bad ones while a good client goes on undisturbed', async () => {
    const bad = () => test.ask('GET', '/v1/gateways', { token: `chy_${'0123456789abcdef'}_${'A'.repeat(43)}` });
    const statuses = new Set<number>();
    for (let round = 0; round < 20; round++) {
      const answers = await Promise.all(Array.from({ length: 50 }, bad));
      for (const { status, headers } of answers) {
        statuses.add(status);
        if (status === 429) expect(Number(headers['retry-after'])).toBeGreaterThan(0);
      }
      expect((await test.ask('GET', '/v1/gateways')).status).toBe(200);
    }
    expect([...statuses].sort()).toEqual([401, 429]);
    const newcomer = await test.makeToken(['read']);
    // The flood has used up the looks at tokens that nobody has seen; they come back at a hundred a second.
    const enters = async () => (await test.ask('GET', '/v1/gateways', { token: newcomer.token })).status;
    const end = performance.now() + 5_000;
    let status = await enters();
    while (status === 429 && performance.now() < end) status = await enters();
    expect(status).toBe(200);
  }, 30_000);
});
