import { request } from 'node:http';

import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { startTestApi, type TestApi } from './test-api.js';

const MAPPINGS = 20_000;

let api: TestApi;
beforeAll(async () => {
  api = await startTestApi();
  for (const name of ['large', 'other']) expect(await api.ask('POST', '/v1/gateways', { body: { name } })).toMatchObject({ status: 201 });
}, 60_000);
afterAll(() => api.close(), 30_000);

const mapping = (i: number, revision: string) => ({ name: `m${i}`, prefix: `/m${i}/`, rewrite: `/${revision}/`, service: '10.0.0.1:8000' });
const document = (revision: string) => JSON.stringify({ mappings: Array.from({ length: MAPPINGS }, (_, i) => mapping(i, revision)) });

/** Another user's changes, one after the other, until something else has ended; `longest` is the share of the whole time that the longest took. */
async function writesBeside(underWay: Promise<number>, name: string): Promise<{ status: number; written: number; longest: number }> {
  let over = false;
  const end = () => {
    over = true;
  };
  underWay.then(end, end);
  const began = performance.now();
  let [written, longestMs] = [0, 0];
  for (; !over; written++) {
    const body = { ...mapping(written, name), name: `${name}-${written}`, prefix: `/${name}-${written}/` };
    const asked = performance.now();
    const made = await api.ask('POST', '/v1/gateways/other/mappings', { body });
    longestMs = Math.max(longestMs, performance.now() - asked);
    expect(made.status).toBe(201);
  }
  return { status: await underWay, written, longest: longestMs / (performance.now() - began) };
}

const documents = new Map(['v0', 'v1'].map((revision) => [revision, Buffer.from(document(revision))]));

/** A request whose long answer is not looked at: that would be this process' time too. @returns its status. */
function send(method: string, path: string, body: string | Buffer): Promise<number> {
  const headers = { authorization: `Bearer ${api.token}`, 'content-type': 'application/json', 'if-match': '*' };
  return new Promise((resolve, reject) => {
    const outgoing = request(`${api.api.url}/v1/gateways/large/${path}`, { method, headers }, (incoming) => {
      incoming.on('error', reject);
      incoming.on('end', () => resolve(incoming.statusCode ?? 0));
      incoming.resume();
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

const put = (revision: string) => send('PUT', 'config', documents.get(revision) ?? '');
const post = (what: string, body: object) => send('POST', what, JSON.stringify(body));

test.each([
  ['an import', () => put('v0'), 200],
  ['a change', () => put('v1'), 200],
  ['a revert', () => post('reverts', { version: 3, reason: 'a try' }), 201],
  ['a rollback', () => post('rollbacks', { toVersion: 3, reason: 'a try' }), 201],
])(
  '%s of 20,000 mappings lets others write',
  async (name, order, status) => {
    const beside = await writesBeside(order(), name.replaceAll(' ', '-'));
    expect(beside.status).toBe(status);
    expect(beside.written).toBeGreaterThan(5);
    expect(beside.longest).toBeLessThan(0.4); // no step is most of it; in milliseconds: bench/import/turns.mjs
  },
  60_000,
);
