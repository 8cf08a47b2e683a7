import { connect } from 'node:net';

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { toBootstrap } from '#features/gateway/gateway.envoy.js';
import { defaultSettings } from '#features/gateway/gateway.js';
import { type RunningEnvoy, startEnvoy } from '#features/rollout/running-envoy.fixture.js';

import { normaliseRequest } from './normalised-request.js';

let envoy: RunningEnvoy;
beforeAll(async () => {
  const header = (key: string, value: string) => ({ header: { key, value }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' }) as const;
  const echo = {
    name: 'echo',
    match: { prefix: '/' },
    direct_response: { status: 200 },
    response_headers_to_add: [header('x-path', '%REQ(:PATH)%'), header('x-host', '%REQ(:AUTHORITY)%')],
  };
  const bootstrap = toBootstrap({
    gateway: 'default',
    http: { address: '127.0.0.1', port: 0 },
    https: null,
    policy: defaultSettings.tls,
    tls: undefined,
    reserved: [],
    settings: defaultSettings,
    streamIdleTimeoutMs: 5000,
    virtualHosts: [{ name: 'any', domains: ['*'], routes: [echo] }],
    clusters: [],
    clusterFile: null,
    secrets: [],
  });
  envoy = await startEnvoy(Buffer.from(JSON.stringify(bootstrap)), new Map());
}, 30_000);
afterAll(() => envoy?.stop());

/** What the real Envoy makes of it: the status when it refuses it, else the host and the path that a route would see. */
async function atEnvoy({ method = 'GET', host, target, header = '' }: { method?: string; host: string; target: string; header?: string }) {
  const socket = connect(envoy.ports.get('http') ?? 0, '127.0.0.1');
  const parts: Buffer[] = [];
  socket.on('data', (part) => {
    parts.push(part);
    if (Buffer.concat(parts).includes('\r\n\r\n')) socket.destroy(); // Envoy waits a second for clients that it refuses
  });
  const closed = new Promise((resolve, reject) => socket.on('close', resolve).on('error', reject));
  socket.write(Buffer.from(`${method} ${target} HTTP/1.1\r\nhost: ${host}\r\n${header}connection: close\r\n\r\n`, 'latin1'));
  await closed;
  const text = Buffer.concat(parts).toString('latin1');
  const status = Number(text.slice(9, 12));
  const found = (name: string) => new RegExp(`\\r\\n${name}: ([^\\r]*)`).exec(text)?.[1] ?? '';
  return status === 200 ? `${found('x-host').toLowerCase()} ${found('x-path')}` : String(status);
}

function said({ method = 'GET', host, target }: { method?: string; host: string; target: string }): string {
  const { request, query, answered } = normaliseRequest({ method, url: target, headers: { host } });
  return answered?.status === 400 ? '400' : `${request.host} ${request.path}${query}`;
}

const targets = [
  ...['/a/./b', '/a/../b', '/../b', '/a/..', '/a/.', '/a/..;x/b', '/a/.;x/b', '/a/%2e/b', '/a/%2E%2e/b', '/a//b', '//a', '///', '/a/b//'],
  ...[
    '/a%2fb',
    '/a%5Cb',
    '/a\\b',
    '/a/..\\b',
    '/%',
    '/%zz',
    '/a?x=//b/../c',
    '/a//?x#y',
    '/a#f',
    '/a/%2e%2e;x/b',
    '*',
    '/a/.../',
    '/%252e/',
  ],
  ...['/a//../b', '/a/b//../c', '/%3b', '/a;x/../b', '/é', '/a/%e9', '/.', '/..', '/a/.%2E', '?x', '/a/..?x', '/a%00b', '/a%0ab', '/a/;..'],
  ...['/"<>^`{|}', "/a!$&'()*+,;=:@~-._z", '/%41%7E%2D%5f%61', '/a/..;x\\b', '/a/.%2e;x/b', '/..;/..;/a', '/a?q=%2F%5C', 'a'],
];
const hosts = ['H.TEST', 'h.test:80', 'h.test.', 'h.test.:8080', 'h.test..', '[::1]:80', 'h.test:', 'h_t', '127.0.0.1:1'];

test.each(targets)('the target %s', async (target) => {
  expect(said({ host: 'h.test', target })).toBe(await atEnvoy({ host: 'h.test', target }));
});

test.each(hosts)('the host %s', async (host) => {
  expect(said({ host, target: '/' })).toBe(await atEnvoy({ host, target: '/' }));
});

test.each(['get', 'FOO', 'PATCH', 'OPTIONS', 'TRACE', 'CONNECT'])('the method %s', async (method) => {
  expect(said({ method, host: 'h', target: '/x' })).toBe(await atEnvoy({ method, host: 'h', target: '/x' }));
});

test('a header with an underscore', async () => {
  expect(normaliseRequest({ method: 'GET', url: '/', headers: { a_b: '1' } }).answered?.status).toBe(400);
  expect(await atEnvoy({ host: 'h', target: '/', header: 'a_b: 1\r\n' })).toBe('400');
});

test('random paths out of what normalisation is about', async () => {
  const word = fc.constantFrom(
    'a',
    'B',
    '.',
    '..',
    '%2e',
    '%2E',
    ';',
    'x',
    '/',
    '/',
    '//',
    '\\',
    '%41',
    '%7e',
    '%3A',
    '?',
    '%',
    '"',
    '^',
    '%2F',
  );
  const targetOf = fc.array(word, { minLength: 1, maxLength: 9 }).map((words) => `/${words.join('')}`);
  const drawn = [...new Set(fc.sample(targetOf, { seed: 1_125, numRuns: 600 }))];
  const wrong: { target: string; said: string; is: string }[] = [];
  for (let at = 0; at < drawn.length; at += 25) {
    const some = drawn.slice(at, at + 25);
    const answers = await Promise.all(some.map((target) => atEnvoy({ host: 'h', target })));
    some.forEach((target, i) => {
      const one = { target, said: said({ host: 'h', target }), is: answers[i] ?? '' };
      if (one.said !== one.is) wrong.push(one);
    });
  }
  expect(wrong).toEqual([]);
}, 60_000);
