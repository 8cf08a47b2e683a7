import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { aMapping } from '#features/mapping/mapping.fixture.js';
import { methods } from '#features/mapping/mapping-fields.js';
import type { MappingState } from '#features/mapping/mapping-state.js';
import { matchRoute, type RoutedRequest } from '#features/mapping/route-matcher.js';
import { buildRouteTable } from '#features/mapping/route-table.js';
import { headerWords, hostWords, methodWords, pathWords, tables, valueWords } from '#features/mapping/table.arbitrary.js';
import { MARKER_PATH, PROOF_HEADER, RELEASE_HEADER, SET_ASIDE_HEADER } from '#platform/envoy/model/reserved.js';
import { waitUntil } from '#platform/envoy/wait-until.js';
import { type GoldenInput, goldenOutput, inputOf, proofSecret } from './compile.fixture.js';
import { bootstrapBytes, compile, type Rendered } from './compile.js';
import { type Answer, ask, type RunningEnvoy, startEnvoy, validate } from './running-envoy.fixture.js';

// Above every deadline below it, so that what is late says itself what it was.
jest.setTimeout(60_000);

const marker = { releaseId: 'release 100% %ENVIRONMENT(HOME)%', body: 'the marker 100% %START_TIME%' };
const onAnyPort = { http: { address: '127.0.0.1', port: 0 } };
const golden = join(import.meta.dirname, 'golden/in');

describe('Envoy accepts what is compiled', () => {
  test.each(readdirSync(golden).sort())('golden %s', async (file) => {
    const { rendered } = goldenOutput(JSON.parse(readFileSync(join(golden, file), 'utf8')) as GoldenInput);
    expect(await validate(bootstrapBytes(rendered, marker), rendered.endpointFiles)).toBeNull();
  });

  test('also a thousand hosts beside any-host mappings at the edge of the limits', async () => {
    const long = (name: string) =>
      aMapping(name, {
        prefix: `/${name}${'x'.repeat(2040 - name.length)}`,
        methods: methods.slice(0, 16),
        headers: { 'x-a': '%'.repeat(1024) },
      });
    const mappings = Array.from({ length: 1000 }, (_, i) =>
      i < 20 ? long(`m${i}`) : aMapping(`m${i}`, { host: `h${i}.example.com`, service: `s${i}` }),
    );
    const rendered = compile(inputOf({ mappings }));
    expect([...rendered.refused]).toEqual([]);
    expect(bootstrapBytes(rendered, marker).length).toBeLessThan(40_000_000);
    expect(await validate(bootstrapBytes(rendered, marker), rendered.endpointFiles)).toBeNull();
  });
});

describe('the real Envoy routes as the reference matcher says', () => {
  // Every mapping is set aside: the 503 names the mapping, so it can be seen which one a request reached.
  const seed = Number(process.env.CHANCERY_SEED ?? Math.trunc(Math.random() * 2 ** 31));
  const drawn: MappingState[][] = fc.sample(tables, { numRuns: 60, seed });
  let envoy: RunningEnvoy;

  beforeAll(async () => {
    const rendered = drawn.map((mappings, i) => {
      const setAside = Object.fromEntries(mappings.map(({ name }) => [name, { code: 'set_aside', drop: false }]));
      // Both ways to let hosts fall through, and mixtures: routes copied, bound to their host, or what the budget makes of it.
      const maxCopiedBytes = [1_000_000, 0, 2000][i % 3] ?? 0;
      return compile(inputOf({ mappings, setAside, settings: onAnyPort, maxCopiedBytes }));
    });
    envoy = await startEnvoy(Buffer.from(JSON.stringify(together(rendered))), new Map());
  });

  afterAll(() => envoy?.stop());

  const anyRequest: fc.Arbitrary<RoutedRequest> = fc.record({
    host: fc
      .tuple(fc.constantFrom(...hostWords.map((host) => host.replace('*', 'x'))), fc.constantFrom('', ':80', '.', '.:8080'))
      .chain(([host, end]) => fc.constantFrom(host + end, host.toUpperCase() + end)),
    path: fc
      .tuple(fc.constantFrom(...pathWords), fc.constantFrom('', 'x', '/b', '?x=/a/b'))
      .map(([path, end]) => (path + end).replace('//', '/')),
    method: fc.constantFrom(...methodWords),
    headers: fc.dictionary(
      fc.constantFrom(...headerWords),
      fc.oneof(fc.constantFrom(...valueWords), fc.array(fc.constantFrom(...valueWords), { minLength: 2, maxLength: 2 })),
      { noNullPrototype: true },
    ),
  });

  /** Half of the requests are made for a mapping of the table, so that most of those find one, though not always that one. */
  const requestsOf = (mappings: readonly MappingState[]): fc.Arbitrary<RoutedRequest> => {
    if (mappings.length === 0) return anyRequest;
    const aimed = fc.tuple(fc.constantFrom(...mappings), anyRequest).map(([mapping, request]) => ({
      host: mapping.host.replace('*', 'x'),
      path: mapping.path ?? `${mapping.prefix}${request.path.slice(1)}`,
      method: mapping.methods[0] ?? request.method,
      headers: { ...request.headers, ...mapping.headers },
    }));
    return fc.oneof(anyRequest, aimed);
  };

  test(`60 random tables, 100 requests each (CHANCERY_SEED=${seed})`, async () => {
    const differences: unknown[] = [];
    let matched = 0;
    for (const [i, mappings] of drawn.entries()) {
      const table = buildRouteTable(mappings);
      const asked = fc.sample(requestsOf(mappings), { numRuns: 100, seed: seed + i });
      const port = envoy.ports.get(`http-${i}`) ?? 0;
      const answers = await Promise.all(asked.map(({ headers, host, ...rest }) => ask({ port, ...rest, headers: { ...headers, host } })));
      for (const [j, request] of asked.entries()) {
        const expected = matchRoute(table, request)?.row.mapping ?? null;
        const answered = mappingOf(answers[j]);
        if (expected !== null) matched += 1;
        if (answered !== expected) differences.push({ request, expected, answered, mappings });
      }
    }
    expect(differences.slice(0, 3)).toEqual([]);
    // A test in which no request finds a mapping would prove nothing.
    expect(matched).toBeGreaterThan(1000);
  }, 120_000);
});

describe.each([
  ['with few upstreams (EDS files)', 0],
  ['with many upstreams (one CDS file)', 300],
])('a running gateway %s', (_title, others) => {
  let upstream: Server;
  let envoy: RunningEnvoy;
  let port: number;
  let late: Rendered;

  beforeAll(async () => {
    upstream = createServer((request, response) =>
      response.end(JSON.stringify({ url: request.url, headers: request.headers, method: request.method })),
    );
    await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
    const service = `127.0.0.1:${(upstream.address() as AddressInfo).port}`;
    const mappings = [
      aMapping('user', { prefix: '/user/', service }),
      aMapping('slashless', { prefix: '/us', service, rewrite: '/' }),
      aMapping('same', { prefix: '/same/', rewrite: '/same/', service }),
      aMapping('path', { path: '/ping', rewrite: '/100%25/%41', service }),
      aMapping('aside', { prefix: '/aside/', service }),
      aMapping('host', { host: '*.example.com', prefix: '/h/', service }),
      aMapping('late', { prefix: '/late/', service: 'latecomer' }),
      aMapping('all-methods', { prefix: '/m/', service, rewrite: '/m/' }),
      ...Array.from({ length: others }, (_, i) => aMapping(`other-${i}`, { service: `${i % 10 === 0 ? 'https://' : ''}other-${i}` })),
    ];
    const settings = { ...onAnyPort, allowLoopbackUpstreams: true };
    const input = { mappings, settings, setAside: { aside: { code: 'envoy_refused', drop: false } } };
    const rendered = compile(inputOf({ ...input, endpoints: { [`http://${service}`]: [service] } }));
    late = compile(inputOf({ ...input, endpoints: { [`http://${service}`]: [service], 'http://latecomer:80': [service] } }));
    envoy = await startEnvoy(bootstrapBytes(rendered, marker), rendered.endpointFiles);
    port = envoy.ports.get('http') ?? 0;
  });

  afterAll(async () => {
    await envoy?.stop();
    upstream.close();
  });

  const get = (path: string, headers: Record<string, string> = {}) => ask({ port, path, headers });
  const seen = async (path: string, headers: Record<string, string> = {}) => JSON.parse((await get(path, headers)).body);

  test.each([
    ['/user/health?x=1', '/health?x=1'],
    ['/user/', '/'],
    ['/us/x', '/x'],
    ['/us', '/'],
    ['/usx', '/x'],
    ['/same/x', '/same/x'],
    ['/ping', '/100%25/%41'],
    ['/a/../user/./x', '/x'],
    ['//user//x', '/x'],
    ['/%75ser/x', '/x'],
  ])('%s reaches the service as %s', async (path, expected) => {
    expect((await seen(path)).url).toBe(expected);
  });

  test.each(['/user/%2fx', '/user/%5cx', '/user/%00'])('%s is refused', async (path) => {
    expect((await get(path)).status).toBe(400);
  });

  test('a header with an underscore is refused; internal headers of clients are removed', async () => {
    expect((await get('/user/', { x_a: '1' })).status).toBe(400);
    const { headers } = await seen('/user/', { 'x-envoy-retry-on': '5xx', [PROOF_HEADER]: 'x', 'x-forwarded-proto': 'https' });
    expect(headers).toMatchObject({ 'x-forwarded-proto': 'http' });
    expect(Object.keys(headers)).not.toEqual(expect.arrayContaining(['x-envoy-retry-on']));
    expect(Object.keys(headers)).not.toEqual(expect.arrayContaining([PROOF_HEADER]));
  });

  test('every method that a mapping may name gets through', async () => {
    const answers = await Promise.all(methods.map((method) => ask({ port, path: '/m/', method })));
    expect(methods.filter((_, i) => answers[i]?.status !== 200)).toEqual([]);
  });

  test('the marker answers its secret only, on every host, its text as it is', async () => {
    for (const host of ['a.example.com', 'anything', 'A.EXAMPLE.COM:80']) {
      const answer = await get(MARKER_PATH, { host, [PROOF_HEADER]: proofSecret });
      expect([answer.status, answer.body, answer.headers[RELEASE_HEADER]]).toEqual([200, marker.body, marker.releaseId]);
      expect((await get(MARKER_PATH, { host, [PROOF_HEADER]: 'wrong' })).status).toBe(404);
      expect((await get('/.well-known/chancery/other', { host })).status).toBe(404);
    }
  });

  test('what is set aside says so, and why', async () => {
    const answer = await get('/aside/x');
    expect([answer.status, answer.headers['content-type'], answer.headers[SET_ASIDE_HEADER]]).toEqual([
      503,
      'application/problem+json',
      'envoy_refused',
    ]);
    expect(JSON.parse(answer.body)).toMatchObject({ status: 503, code: 'envoy_refused', mapping: 'aside' });
  });

  test('a service that appears goes live by its file alone', async () => {
    expect((await get('/late/x')).status).toBe(503);
    for (const [name, { json }] of late.endpointFiles) envoy.replace(`endpoints/${name}.json`, json);
    const answer = await waitUntil(async () => ((await get('/late/x')).status === 200 ? true : null), { timeoutMs: 10_000, everyMs: 20 });
    expect(answer).toBe(true);
  });

  test('Envoy had nothing to complain about', () => {
    expect(
      envoy
        .log()
        .split('\n')
        .filter((line) => /\[(error|critical)\]|deprecated/i.test(line)),
    ).toEqual([]);
  });
});

/** Many gateways in one Envoy: each its own listener, named http-0, http-1, … */
function together(all: readonly Rendered[]) {
  const [first] = all;
  if (first === undefined) throw new Error('at least one');
  const listeners = all.flatMap(({ bootstrap }, i) =>
    bootstrap.static_resources.listeners.map((listener) => ({ ...listener, name: `http-${i}` })),
  );
  return { ...first.bootstrap, static_resources: { listeners, clusters: [] } };
}

function mappingOf(answer: Answer | undefined): string | null {
  if (answer?.status === 404) return null;
  if (answer?.status !== 503) return `status ${answer?.status}`;
  return JSON.parse(answer.body).mapping;
}
