import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { z } from 'zod';

import { makeCertificate } from '#features/certificate/certificate.fixture.js';
import { holdPush } from '#features/promotion/hold.js';
import { noTraffic, takeStep } from '#features/promotion/wave.js';
import { sqlQuery } from '#platform/database/database.js';
import { problemSchema } from '#platform/http/answer-schemas.js';
import type { JsonObject } from '#platform/kernel/json.js';
import { ensureKeyFile } from '#platform/vault/key-file.js';

import { startTestApi, type TestAnswer, type TestApi, type TestRequest } from './test-api.js';

const g = '/v1/gateways/default';
const waves = '/v1/gateways/waves/rollout';
const deployment = '0191e9a0-0000-7000-8000-000000000001';

/** One request of every route that exists: each is answered well, and as it was described. */
const tour: readonly (readonly [string, string, TestRequest?])[] = [
  ['GET', '/healthz'],
  ['GET', '/readyz'],
  ['GET', '/readyz?verbose'],
  ['GET', '/metrics'],
  ['GET', '/v1/openapi.json'],
  ['GET', '/docs'],
  ['GET', '/docs/start.js'],
  ['GET', '/docs/swagger-ui.css'],
  ['GET', '/docs/swagger-ui-bundle.js'],
  ['GET', '/docs/favicon-32x32.png'],
  ['POST', '/v1/tokens', { body: { scopes: ['read'] } }],
  ['POST', '/v1/tokens?dryRun=true', { body: { scopes: ['read'] } }],
  ['GET', '/v1/tokens'],
  ['GET', '/v1/tokens/TOKEN'],
  ['DELETE', '/v1/tokens/TOKEN?dryRun=true'],
  ['DELETE', '/v1/tokens/TOKEN'],
  ['GET', '/v1/audit'],
  ['GET', '/v1/gateways'],
  ['POST', '/v1/gateways', { body: { name: 'second' } }],
  ['POST', '/v1/gateways?dryRun=true', { body: { name: 'third' } }],
  ['GET', '/v1/gateways/second'],
  ['GET', `${g}/settings`],
  ['PUT', `${g}/settings`, { body: { services: { usersvc: ['10.0.0.1:80'] } } }],
  ['PATCH', `${g}/settings`, { body: { defaultTimeoutMs: 4000 } }],
  ['PATCH', `${g}/settings?dryRun=true`, { body: { defaultTimeoutMs: 3000 } }],
  [
    'POST',
    `${g}/mappings`,
    { body: { name: 'user', prefix: '/user/', service: 'usersvc', methods: ['GET'], headers: { 'x-a': '1' }, labels: { a: 'b' } } },
  ],
  ['POST', `${g}/mappings?dryRun=true`, { body: { name: 'user2', prefix: '/user2/', service: 'nobody' } }],
  ['PUT', `${g}/mappings/other`, { body: { path: '/exact', service: 'usersvc' } }],
  ['PATCH', `${g}/mappings/other`, { body: { timeoutMs: 100 } }],
  ['GET', `${g}/mappings`],
  ['GET', `${g}/mappings/user`],
  ['GET', `${g}/routes`],
  ['DELETE', `${g}/mappings/other?dryRun=true`],
  ['DELETE', `${g}/mappings/other`],
  [
    'POST',
    `${g}/changesets`,
    { body: { reason: 'both', changes: [{ op: 'put', subject: 'mapping/set', value: { prefix: '/set/', service: 'usersvc' } }] } },
  ],
  ['POST', `${g}/changesets?dryRun=true`, { body: { changes: [{ op: 'delete', subject: 'mapping/set' }] } }],
  ['PUT', `${g}/config?dryRun=true`, { body: { mappings: [{ name: 'set', prefix: '/other/', service: 'usersvc' }] } }],
  ['PUT', `${g}/config?owner=team`, { body: { mappings: [] }, headers: { 'if-match': '*' } }],
  ['POST', `${g}/explain`, { body: { method: 'GET', url: 'http://h/other/x' } }],
  ['PUT', `${g}/route-tests/nobody?dryRun=true`, { body: { request: { method: 'GET', url: '/zzz' }, expect: { none: true } } }],
  ['PUT', `${g}/route-tests/nobody`, { body: { request: { method: 'GET', url: '/zzz' }, expect: { none: true } } }],
  ['GET', `${g}/route-tests`],
  ['GET', `${g}/route-tests/nobody`],
  ['DELETE', `${g}/route-tests/nobody`],
  ['PUT', `${g}/certificates/edge?dryRun=true`, { body: 'PAIR' }],
  ['PUT', `${g}/certificates/edge`, { body: 'PAIR' }],
  ['PUT', `${g}/certificates/edge`, { body: 'PAIR' }],
  ['GET', `${g}/certificates`],
  ['GET', `${g}/certificates/edge`],
  ['GET', `${g}/certificates/edge/history`],
  ['GET', `${g}/config`],
  ['DELETE', `${g}/certificates/edge?dryRun=true`],
  ['DELETE', `${g}/certificates/edge`],
  ['GET', `${g}/versions`],
  ['GET', `${g}/versions/2`],
  ['GET', `${g}/versions/2/propagation?wait=10ms`],
  ['GET', `${g}/versions/2/config`],
  ['GET', `${g}/config`],
  ['GET', `${g}/versions/4/diff?against=1&rendered=true`],
  ['GET', `${g}/mappings/other/history`],
  ['GET', `${g}/settings/history`],
  ['POST', '/v1/gateways/second/mappings?confirmWithin=5m', { body: { name: 'user', prefix: '/user/', service: 'usersvc' } }],
  ['POST', '/v1/gateways/second/rollbacks?dryRun=true', { body: { toVersion: 1, reason: 'because' } }],
  ['POST', '/v1/gateways/second/rollbacks', { body: { toVersion: 1, reason: 'because' }, headers: { 'if-match': '*' } }],
  ['POST', '/v1/gateways/second/rollbacks', { body: { toVersion: 1, reason: 'because' }, headers: { 'if-match': '*' } }],
  ['POST', '/v1/gateways/second/reverts?dryRun=true', { body: { version: 3, reason: 'because' } }],
  ['POST', '/v1/gateways/second/reverts', { body: { version: 3, reason: 'because' } }],
  ['POST', '/v1/gateways/second/reverts', { body: { version: 3, reason: 'because' } }],
  ['GET', '/v1/gateways/second/confirmations'],
  ['POST', '/v1/gateways/second/versions/2/confirm?dryRun=true'],
  ['POST', '/v1/gateways/second/versions/2/confirm', { body: { reason: 'seen it work' } }],
  ['GET', '/v1/gateways/second/confirmations?state=confirmed'],
  ['POST', '/v1/gateways/second/quarantines?dryRun=true', { body: { subject: 'mapping/user', version: 2, reason: 'because' } }],
  ['POST', '/v1/gateways/second/quarantines', { body: { subject: 'mapping/user', version: 2, reason: 'because' } }],
  ['POST', '/v1/gateways/second/quarantines', { body: { subject: 'mapping/user', version: 2, reason: 'because' } }],
  ['GET', '/v1/gateways/second/quarantines'],
  ['GET', '/v1/gateways/second/quarantines/QUARANTINE'],
  ['DELETE', '/v1/gateways/second/quarantines/QUARANTINE?dryRun=true'],
  ['DELETE', '/v1/gateways/second/quarantines/QUARANTINE'],
  ['GET', `${g}/targets`],
  ['GET', `${g}/targets/edge-1`],
  ['GET', `${g}/stats`],
  ['POST', `${g}/redeployments`, { body: { reason: 'because' } }],
  ['POST', `${g}/redeployments?dryRun=true`, { body: { reason: 'because', targets: ['edge-1'] } }],
  ['GET', `${g}/redeployments`],
  ['GET', `${g}/redeployments/REDEPLOYMENT`],
  ['GET', `${g}/deployments`],
  ['GET', `${g}/deployments/${deployment}`],
  ['GET', `${waves}`],
  ['POST', `${waves}/freeze?dryRun=true`, { body: { reason: 'because' } }],
  ['POST', `${waves}/freeze`, { body: { reason: 'because' } }],
  ['POST', `${waves}/unfreeze`, { body: { reason: 'because' } }],
  ['POST', `${waves}/halt`, { body: { reason: 'because' } }],
  ['POST', `${waves}/resume`, { body: { reason: 'because' } }],
  ['POST', `${waves}/promote`, { body: { version: 2, reason: 'because' } }],
  ['POST', `${waves}/pins`, { body: { target: 'wave-1', version: 1, reason: 'because' } }],
  ['DELETE', `${waves}/pins/wave-1?reason=because`],
  ['POST', `${waves}/hold/confirm`, { body: { hold: 'h', reason: 'because' } }],
  ['GET', '/v1/audit/verification'],
  ['GET', '/v1/audit/verification?mode=full'],
  ['GET', '/ambassador/health'],
  ['POST', '/ambassador/mapping/grue', { body: { prefix: '/grue/', service: 'gruesvc' } }],
  ['PUT', '/ambassador/mapping/grue', { body: { prefix: '/grue/', service: 'gruesvc', rewrite: '/grue/' } }],
  ['PUT', '/ambassador/mapping/grue?dryRun=true', { body: { prefix: '/other/', service: 'gruesvc' } }],
  ['GET', '/ambassador/mapping/grue'],
  ['GET', '/ambassador/mapping'],
  ['GET', '/ambassador/mappings'],
  ['PUT', '/ambassador/mappings'],
  ['GET', '/ambassador/stats'],
  ['DELETE', '/ambassador/mapping/grue'],
  ['POST', '/ambassador/principal/alice', { body: { fingerprint: 'ab'.repeat(32) } }],
  ['GET', '/ambassador/principals'],
  ['PUT', '/ambassador/principals'],
  ['GET', '/ambassador/principal/alice'],
  ['GET', '/v1/certs/list/approved'],
  ['DELETE', '/ambassador/principal/alice'],
];

describe('the interface description', () => {
  let test: TestApi;
  let folder: string;
  let pair: JsonObject;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'chancery-keys-'));
    const keyFile = join(folder, 'keys.json');
    ensureKeyFile(keyFile);
    const { pem, key } = await makeCertificate();
    pair = { certificateChain: pem, privateKey: key };
    test = await startTestApi({ CHANCERY_KEK_FILE: keyFile });
    const sql = (text: string) => sqlQuery(test.api.database.db, text, []);
    await sql(`INSERT INTO chancery.target (name, gateway) VALUES ('edge-1', 'default'), ('wave-1', 'waves')`);
    await test.ask('POST', '/v1/gateways', { body: { name: 'waves', settings: { rollout: { strategy: 'waves' } } } });
    await test.ask('POST', '/v1/gateways/waves/mappings', { body: { name: 'user', prefix: '/user/', service: 'usersvc' } });
    const start = { kind: 'start', version: 2, from: 1, targets: ['wave-1'], head: 2, baseline: noTraffic } as const;
    const shrink = { id: 'h', limitPercent: 30, losses: [{ kind: 'routes', before: 20, lost: 9, names: ['user'] }] } as const;
    for (const [subject, decide] of [['wave', takeStep(start, 0)] as const, ['hold', holdPush(2, shrink)] as const]) {
      const context = { commandId: randomUUID(), action: 'Test', actor: 'system' };
      await test.api.events.handle({ stream: 'rollout/waves', subjects: [subject, 'freeze'], context }, decide);
    }
    await sql(
      `INSERT INTO chancery.deployment (id, gateway, target, version, render_sha256, trigger) VALUES ('${deployment}', 'default', 'edge-1', 1, 'ab', 'change')`,
    );
    const counts = { healthyMembers: 1, totalMembers: 1, rq2xx: 1, rq3xx: 0, rq4xx: 0, rq5xx: 0, rqTotal: 1 };
    await sql(
      `INSERT INTO chancery.target_stats (gateway, target, at, mappings, envoy) VALUES ('default', 'edge-1', now(), '${JSON.stringify({ user: counts })}', '{"server.live": 1}')`,
    );
  });
  afterAll(async () => {
    await test.close();
    rmSync(folder, { recursive: true });
  });

  it('describes every route, whole', () => {
    for (const route of test.api.descriptions) {
      const name = `${route.method} ${route.url}`;
      expect([name, route.description === undefined]).toEqual([name, false]);
      expect([name, (route.description?.summary.length ?? 0) > 10]).toEqual([name, true]);
      expect([name, Object.keys(route.description?.answers ?? {}).length > 0]).toEqual([name, true]);
    }
  });

  it('is OpenAPI 3.1, with every route, every parameter and no dangling reference', async () => {
    const { json } = await test.ask('GET', '/v1/openapi.json');
    expect(json).toMatchObject({ openapi: '3.1.0', info: { title: 'Chancery', version: expect.stringMatching(/^\d/) } });
    const ids = new Set<string>();
    for (const route of test.api.descriptions) {
      const path = route.url.replaceAll(/:([a-z]+)/g, '{$1}');
      const operation = json.paths[path]?.[route.method.toLowerCase()];
      expect([path, operation === undefined]).toEqual([path, false]);
      ids.add(operation.operationId);
      const inPath = operation.parameters
        .filter((one: { in: string }) => one.in === 'path')
        .map((one: { name: string }) => `{${one.name}}`);
      expect(inPath).toEqual(path.match(/\{[a-z]+\}/g) ?? []);
      expect(operation.security).toEqual(route.public ? [] : [{ bearer: [] }, { basic: [] }]);
      expect(operation.responses.default).toBeDefined();
    }
    expect(ids.size).toBe(test.api.descriptions.length);
    const text = JSON.stringify(json);
    for (const [, reference] of text.matchAll(/"\$ref":"([^"]+)"/g)) {
      const found = reference
        ?.replace('#/', '')
        .split('/')
        .reduce((at, key) => at?.[key], json);
      expect([reference, found === undefined]).toEqual([reference, false]);
    }
    expect(text).not.toContain('"$schema"');
  });

  it('says the truth: every route answers well, with a status and a body as described', async () => {
    const ids = { TOKEN: '', REDEPLOYMENT: '', QUARANTINE: '' };
    const visited = new Set<string>();
    const faults: unknown[] = [];
    for (const [method, template, request] of tour) {
      const path = template.replace('TOKEN', ids.TOKEN).replace('REDEPLOYMENT', ids.REDEPLOYMENT).replace('QUARANTINE', ids.QUARANTINE);
      const answer = await test.ask(method, path, request?.body === 'PAIR' ? { body: pair } : (request ?? {}));
      const route = test.api.descriptions.find((one) => one.method === method && fits(one.url, path.split('?')[0] ?? ''));
      if (route === undefined) throw new Error(`no route is described for ${method} ${path}`);
      visited.add(`${route.method} ${route.url}`);
      const schema = route.description?.answers[answer.status];
      if (answer.status >= 300 || schema === undefined) faults.push([method, path, answer.status, answer.text]);
      else if (typeof schema !== 'string') faults.push(...difference(schema, answer, `${method} ${path}`));
      if (template === '/v1/tokens' && method === 'POST') ids.TOKEN = answer.json.id;
      if (template.endsWith('/quarantines') && method === 'POST') ids.QUARANTINE = answer.json.id;
      if (template === `${g}/redeployments` && method === 'POST') ids.REDEPLOYMENT = answer.json.id;
    }
    expect(faults).toEqual([]);
    expect(test.api.descriptions.map(({ method, url }) => `${method} ${url}`).filter((route) => !visited.has(route))).toEqual([]);
  });

  it('has a page that loads nothing from elsewhere', async () => {
    const page = await test.ask('GET', '/docs');
    expect(page.headers['content-security-policy']).toMatch(/default-src 'none'/);
    for (const [, source] of page.text.matchAll(/(?:src|href)="([^"]+)"/g)) {
      expect(source).toMatch(/^\//);
      const part = await test.ask('GET', source ?? '');
      expect([source, part.status]).toEqual([source, 200]);
    }
    for (const path of ['/docs/package.json', '/docs/..%2fpackage.json', '/docs/%2e%2e', '/docs/index.html'])
      expect((await test.ask('GET', path)).status).toBe(404);
  });

  it('describes refusals as they are', async () => {
    const refused = await test.ask('POST', `${g}/mappings`, { body: { name: 'x' } });
    expect(problemSchema.parse(refused.json)).toEqual(refused.json);
  });
});

function fits(url: string, path: string): boolean {
  const [pattern, parts] = [url.split('/'), path.split('/')];
  return pattern.length === parts.length && pattern.every((part, i) => part.startsWith(':') || part === parts[i]);
}

/** What the schema does not know or cannot bear. Parsing leaves out what a schema does not name, so what comes out must be what went in. */
function difference(schema: z.ZodType, answer: TestAnswer, name: string): unknown[] {
  const parsed = schema.safeParse(answer.json);
  if (!parsed.success) return [[name, parsed.error.issues, answer.json]];
  return JSON.stringify(sorted(parsed.data)) === JSON.stringify(sorted(answer.json))
    ? []
    : [[name, 'not described in full', parsed.data, answer.json]];
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, member]) => [key, sorted(member)]),
  );
}
