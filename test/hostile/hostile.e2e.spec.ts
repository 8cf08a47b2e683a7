import { createHash, randomUUID } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';

import { fromJson, toJson } from '#features/mapping/mapping-state.js';
import { openDatabase, sqlQuery } from '#platform/database/database.js';
import { EnvoyAdmin } from '#platform/envoy/admin.js';
import { EventStore } from '#platform/eventstore/event-store.js';
import { canonicalJson, type JsonObject } from '#platform/kernel/json.js';

import { ask } from '../../apps/api/test-api.js';
import { lostCount, startLoad } from '../load/load-client.js';
import { DevHarness } from '../support/dev-harness.js';

import { type Expectation, hostileName } from './hostile-case.js';
import { hostileInputs } from './hostile-inputs.js';

jest.setTimeout(300_000);

let dev: DevHarness;
let echo: Server;
let service: string;

beforeAll(async () => {
  echo = createServer((request, response) => response.end(request.url));
  await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
  service = `127.0.0.1:${(echo.address() as AddressInfo).port}`;
  dev = await DevHarness.start({ args: ['--no-demo'] });
  await dev.api('/v1/gateways/default/mappings/witness', { method: 'PUT', body: { prefix: '/witness/', service } });
  await dev.until(
    () => dev.through('/witness/x'),
    (answer) => answer.text === '/x',
  );
});
afterAll(async () => {
  await dev?.dispose();
  echo.closeAllConnections();
  await new Promise((resolve) => echo.close(resolve));
});

/** Hashes of what no hostile request may touch: heads, claims, and the configuration that Envoy itself reports. */
async function fingerprint(): Promise<Record<string, string>> {
  const { db, close } = openDatabase({ url: dev.ready.database, applicationName: 'test', maxConnections: 1 });
  try {
    const heads = await sqlQuery(db, `SELECT * FROM chancery.stream WHERE stream LIKE 'gateway/%' ORDER BY stream`, []);
    const claims = await sqlQuery(db, `SELECT * FROM chancery.claim ORDER BY stream, claim`, []);
    const dump = await new EnvoyAdmin(join(dev.data, 'node/admin.sock')).text('/config_dump?include_eds', { timeoutMs: 10_000 });
    // Envoy writes the members of its maps in an order of the moment.
    const config = canonicalJson(JSON.parse(dump.replace(/"last_updated": "[^"]*"/g, '"last_updated": ""')));
    const hash = (value: unknown) =>
      createHash('sha256')
        .update(typeof value === 'string' ? value : JSON.stringify(value))
        .digest('hex');
    return { heads: hash(heads), claims: hash(claims), envoy: hash(config) };
  } finally {
    await close();
  }
}

describe('hostile input', () => {
  // bin/dev allows loopback upstreams, which its demo services need; those cases are tested where they are forbidden.
  const cases = hostileInputs.filter(({ v1, ambassador }) => v1?.code !== 'service_loopback' && ambassador?.code !== 'service_loopback');

  it(`changes nothing, at the log, the claims and Envoy, by any of ${cases.length} requests to both APIs`, async () => {
    const before = await fingerprint();
    const api = new URL(dev.ready.api);
    const wrong: unknown[] = [];
    const send = async (
      path: string,
      title: string,
      expected: Expectation | null,
      body: JsonObject,
      raw: string | Uint8Array | undefined,
      contentType: string,
    ) => {
      if (expected === null) return;
      const bytes = raw === undefined ? JSON.stringify(body) : Buffer.from(raw);
      const answer = await ask(api, 'POST', path, { token: dev.ready.token, raw: bytes, headers: { 'content-type': contentType } });
      const got = { status: answer.status, code: answer.json?.code, pointer: answer.json?.errors?.[0]?.pointer };
      if (JSON.stringify(got) !== JSON.stringify(expected)) wrong.push({ title, path, expected, got });
    };
    for (const hostile of cases) {
      const { body, raw, contentType = 'application/json' } = hostile;
      const title = `${hostile.class}: ${hostile.title}`;
      await send('/v1/gateways/default/mappings', title, hostile.v1, (body ?? {}) as JsonObject, raw, contentType);
      const { name: _name, ...rest } = (body ?? {}) as JsonObject;
      await send(`/ambassador/mapping/${hostileName(hostile.name)}`, title, hostile.ambassador, rest, raw, contentType);
    }
    expect(wrong).toEqual([]);
    expect(await fingerprint()).toEqual(before);
  });
});

/** States that no validation would let through. Envoy itself judges header conditions; the rest the translation refuses. */
const planted: readonly (readonly [title: string, state: JsonObject])[] = [
  ['a header name with a line feed', { headers: { 'x-a\nb': '1' } }],
  ['a header name with a carriage return', { headers: { 'x-a\rb': '1' } }],
  ['a header name that is a line feed', { headers: { '\n': '1' } }],
  ['an empty header name', { headers: { '': '1' } }],
  ['a header name that ends in a line feed', { headers: { 'x-a\n': '1' } }],
  ['a header name that begins with a line break', { headers: { '\r\nx-a': '1' } }],
  ['two broken header names', { headers: { 'x\n1': '1', 'x\n2': '1' } }],
  ['a broken header name beside a good one', { headers: { 'x-good': '1', 'x\nbad': '1' } }],
  ['a host with a space', { host: 'a b' }],
  ['a host with two stars', { host: '*.*.example' }],
  ['a path that does not begin with a slash', { prefix: 'planted/' }],
  ['the reserved prefix', { prefix: '/.well-known/chancery/' }],
  ['a metadata address', { service: '169.254.169.254:80' }],
  ['no service at all', { service: '' }],
  ['a negative timeout', { timeoutMs: -1 }],
  ['a rewrite with a line feed', { rewrite: '/a\nb/' }],
];

describe('a configuration that Envoy refuses, planted behind the validation', () => {
  it.each(planted)('%s is set aside with its reason; traffic is untouched and the next good change is served', async (_title, fields) => {
    const { hostname, port } = new URL(dev.ready.gateway);
    const load = startLoad({ host: hostname, port: Number(port), path: '/witness/x', rate: 50, lanes: ['new', 'busy'], timeoutMs: 5_000 });
    const name = `planted-${randomUUID().slice(0, 8)}`;
    const state = toJson(fromJson(name, { prefix: `/${name}/`, service, ...fields }));
    await plant(name, { ...state, ...fields });

    const good = `good-${name}`;
    const made = await dev.api(`/v1/gateways/default/mappings/${good}`, { method: 'PUT', body: { prefix: `/${good}/`, service } });
    expect({ status: made.status, text: made.text }).toMatchObject({ status: 201 });
    await dev.until(
      () => dev.through(`/${good}/x`),
      (answer) => answer.text === '/x',
      60_000,
    );

    const bad = await dev.api(`/v1/gateways/default/mappings/${name}`);
    expect(bad.json).toMatchObject({
      status: { state: 'set_aside', reasons: [{ code: expect.stringMatching(/^[a-z_]+$/), message: expect.stringMatching(/\w/) }] },
    });
    const result = await load.stop();
    expect({ lost: lostCount(result), outcomes: result.outcomes }).toMatchObject({ lost: 0 });
    const gone = await dev.api(`/v1/gateways/default/mappings/${name}`, { method: 'DELETE' });
    expect(gone.status).toBeLessThan(300);
  });
});

/** Appends past every check of the commands, as an older version or a defect might. */
async function plant(name: string, state: JsonObject): Promise<void> {
  const database = openDatabase({ url: dev.ready.database, applicationName: 'test', maxConnections: 2 });
  const events = new EventStore({ database });
  try {
    const context = { commandId: randomUUID(), action: 'PlantMapping', actor: 'test' };
    await events.handle({ stream: 'gateway/default', subjects: [`mapping/${name}`], context }, () => [
      { type: 'MappingCreated', schemaVersion: 1, subject: `mapping/${name}`, state },
    ]);
  } finally {
    await events.close();
    await database.close();
  }
}
