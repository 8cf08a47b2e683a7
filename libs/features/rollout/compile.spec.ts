import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { aMapping } from '#features/mapping/mapping.fixture.js';
import type { MappingState } from '#features/mapping/mapping-state.js';
import { tables } from '#features/mapping/table.arbitrary.js';
import type { Bootstrap } from '#platform/envoy/model/bootstrap.js';
import { MARKER_PATH, RESERVED_PREFIX } from '#platform/envoy/model/reserved.js';
import { type GoldenInput, goldenOutput, inputOf } from './compile.fixture.js';
import { bootstrapBytes, compile } from './compile.js';

const golden = join(import.meta.dirname, 'golden');
/** `CHANCERY_REWRITE_GOLDEN=1` writes what the compiler makes now, and removes what no input makes any more. */
const isRewrite = process.env.CHANCERY_REWRITE_GOLDEN === '1';
const inputs = readdirSync(join(golden, 'in')).sort();
const marker = { releaseId: 'r', body: 'm' };

function readInput(file: string): GoldenInput {
  return JSON.parse(readFileSync(join(golden, 'in', file), 'utf8'));
}

describe('golden files', () => {
  test.each(inputs.map((file) => [readInput(file).title, file] as const))('%s', (_title, file) => {
    const { text } = goldenOutput(readInput(file));
    if (isRewrite) writeFileSync(join(golden, 'out', file), text);
    expect(text).toBe(readFileSync(join(golden, 'out', file), 'utf8'));
  });

  test('every output has its input', () => {
    const orphans = readdirSync(join(golden, 'out')).filter((file) => !inputs.includes(file));
    if (isRewrite) for (const file of orphans) rmSync(join(golden, 'out', file));
    expect(isRewrite ? [] : orphans).toEqual([]);
  });
});

describe('equal states give equal bytes', () => {
  test('whatever order the mappings, the endpoints and the keys come in', () => {
    fc.assert(
      fc.property(
        tables.chain((mappings) => fc.tuple(fc.constant(mappings), fc.shuffledSubarray(mappings, { minLength: mappings.length }))),
        fc.shuffledSubarray(['10.0.0.1:1', '10.0.0.2:1', '[fd00::1]:1', '10.0.0.10:1'], { minLength: 4 }),
        ([mappings, shuffled], addresses) => {
          const first = compile(inputOf({ mappings, endpoints: { 'http://usersvc:80': [...addresses].sort() } }));
          const second = compile(inputOf({ mappings: shuffled.map(reversedKeys), endpoints: { 'http://usersvc:80': addresses } }));
          expect(bootstrapBytes(second, marker).equals(bootstrapBytes(first, marker))).toBe(true);
          expect(second.renderSha256).toBe(first.renderSha256);
          expect([...second.endpointFiles]).toEqual([...first.endpointFiles]);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('the marker and the endpoints are not in the render hash; a route is', () => {
    const mappings = [aMapping('user')];
    const without = compile(inputOf({ mappings }));
    const found = compile(inputOf({ mappings, endpoints: { 'http://usersvc:80': ['10.0.0.1:1'] } }));
    expect(found.renderSha256).toBe(without.renderSha256);
    expect([...found.endpointFiles.values()][0]?.sha256).not.toBe([...without.endpointFiles.values()][0]?.sha256);
    expect(compile(inputOf({ mappings: [aMapping('user', { timeoutMs: 1 })] })).renderSha256).not.toBe(without.renderSha256);
    expect(bootstrapBytes(found, { releaseId: 'a', body: 'x' })).not.toEqual(bootstrapBytes(found, { releaseId: 'b', body: 'x' }));
  });
});

describe('user text stays in its place', () => {
  const nasty = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc.constantFrom(
      '"}],"admin":{',
      '%ENVIRONMENT(HOME)%',
      '\r\nX-Evil: 1',
      '$' + '{jndi}',
      '__proto__',
      'constructor',
      '\ud800',
      '*',
      '//',
      '\u0000',
    ),
  );
  const tainted = nasty.map((text) => `${text}TAINT${text}`);
  /** Mostly such that the mapping gets a route at all, so that its other fields have a place to escape from. */
  const planted: fc.Arbitrary<MappingState> = fc.record({
    name: fc.oneof({ weight: 4, arbitrary: fc.constantFrom('TAINT-1', 'TAINT.2', 'x_TAINT') }, { weight: 1, arbitrary: tainted }),
    host: fc.oneof({ weight: 4, arbitrary: fc.constantFrom('*', 'taint.example.com') }, { weight: 1, arbitrary: tainted }),
    prefix: fc.oneof({ weight: 4, arbitrary: fc.constantFrom('/TAINT', "/TAINT'/%25/") }, { weight: 1, arbitrary: tainted }),
    path: fc.option(fc.oneof(fc.constant('/TAINT'), tainted), { freq: 4 }),
    service: fc.oneof({ weight: 2, arbitrary: fc.constant('usersvc') }, { weight: 1, arbitrary: tainted }),
    rewrite: fc.oneof({ weight: 2, arbitrary: fc.constantFrom('/', '/%25TAINT/') }, { weight: 1, arbitrary: tainted }),
    methods: fc.array(tainted, { maxLength: 2 }),
    headers: fc.dictionary(tainted, tainted, { maxKeys: 2 }),
    precedence: fc.oneof(fc.integer(), fc.double()),
    timeoutMs: fc.oneof(fc.constant(5000), fc.integer(), fc.double()),
    labels: fc.dictionary(tainted, tainted, { maxKeys: 2 }),
  });
  /** Where a bootstrap may hold what a user wrote, array indexes left out. */
  const places = [
    ...[
      'name',
      'match/prefix',
      'match/path',
      'match/headers/name',
      'match/headers/string_match/exact',
      'route/prefix_rewrite',
      'stat_prefix',
    ],
    'direct_response/body/inline_string',
  ].map((leaf) => `/static_resources/listeners/filter_chains/filters/typed_config/route_config/virtual_hosts/routes/${leaf}`);

  test('planted behind the validation: no key of ours is added, and no text is anywhere but in its own leaf', () => {
    const known = new Set(pathsOf(sample()).keys());
    const reached = new Set<string>();
    fc.assert(
      fc.property(fc.array(planted, { maxLength: 4 }), fc.boolean(), (mappings, isSetAside) => {
        const setAside = isSetAside ? Object.fromEntries(mappings.map(({ name }) => [name, { code: name, drop: false }])) : {};
        const rendered = compile(inputOf({ mappings, setAside }));
        const bytes = bootstrapBytes(rendered, marker);
        const found = pathsOf(JSON.parse(bytes.toString()));
        expect([...found.keys()].filter((path) => !known.has(path))).toEqual([]);
        const tainted = [...found].filter(([, leaves]) => leaves.some((leaf) => leaf.includes('TAINT'))).map(([path]) => path);
        expect(tainted.filter((path) => !places.includes(path))).toEqual([]);
        for (const path of tainted) reached.add(path);
        expect([...rendered.endpointFiles.keys()].every((name) => /^[A-Za-z0-9_-]{1,200}$/.test(name))).toBe(true);
      }),
      { numRuns: 300 },
    );
    expect([...reached].sort()).toEqual([...places].sort());
  });

  test('validated mappings keep every text exactly', () => {
    const mapping = aMapping('user', { prefix: "/it's/%25/", rewrite: '/100%25/', headers: { 'x-a': '%REQ(host)% "q"' } });
    const route = routesOf(compile(inputOf({ mappings: [mapping] })).bootstrap)[2];
    expect(route).toMatchObject({
      match: { prefix: "/it's/%25/", headers: [{ name: 'x-a', string_match: { exact: '%REQ(host)% "q"' } }] },
      route: { prefix_rewrite: '/100%25/' },
    });
  });

  function sample(): Bootstrap {
    const mappings = [
      aMapping('a', { prefix: '/a', methods: ['GET'], headers: { 'x-a': '1' } }),
      aMapping('b', { path: '/b', host: 'b.example.com', timeoutMs: 3_600_000, service: 'https://b' }),
      aMapping('c'),
      aMapping('d', { service: 'https://203.0.113.1' }),
    ];
    return compile(inputOf({ mappings, setAside: { c: { code: 'x', drop: false } } })).bootstrap;
  }
});

test('the marker and the reserved prefix come first in every virtual host', () => {
  const mappings = [aMapping('all', { prefix: '/' }), aMapping('host', { host: 'a.example.com', prefix: '/' })];
  const { bootstrap } = compile(inputOf({ mappings }));
  const hosts = virtualHostsOf(bootstrap);
  expect(hosts.map(({ domains }) => domains)).toEqual([['a.example.com'], ['*']]);
  for (const { routes } of hosts) {
    expect(routes.slice(0, 2).map(({ match }) => match.path ?? match.prefix)).toEqual([MARKER_PATH, RESERVED_PREFIX]);
  }
});

test('every file that the bootstrap names is one of its endpoint files', () => {
  const { bootstrap, endpointFiles } = compile(inputOf({ mappings: [aMapping('a', { service: 'https://a' }), aMapping('b')] }));
  const named = [...JSON.stringify(bootstrap).matchAll(/"path_config_source":\{"path":"endpoints\/([^"]*)\.json"/g)].map(
    (match) => match[1],
  );
  expect(new Set(named)).toEqual(new Set(endpointFiles.keys()));
  expect(JSON.stringify(bootstrap)).not.toContain('filename');
});

function virtualHostsOf(bootstrap: Bootstrap) {
  return bootstrap.static_resources.listeners.flatMap((listener) =>
    listener.filter_chains.flatMap((chain) => chain.filters.flatMap((filter) => filter.typed_config.route_config.virtual_hosts)),
  );
}

function routesOf(bootstrap: Bootstrap) {
  return virtualHostsOf(bootstrap).flatMap(({ routes }) => routes);
}

function reversedKeys(mapping: MappingState): MappingState {
  const reversed = (value: object) => Object.fromEntries(Object.entries(value).reverse());
  return { ...reversed(mapping), headers: reversed(mapping.headers), labels: reversed(mapping.labels) } as unknown as MappingState;
}

/** Every path of a JSON value, array indexes left out, with the strings found there. */
function pathsOf(value: unknown, path = '', found = new Map<string, string[]>()): Map<string, string[]> {
  const leaves = found.get(path) ?? [];
  found.set(path, leaves);
  if (typeof value === 'string') leaves.push(value);
  if (Array.isArray(value)) for (const item of value) pathsOf(item, path, found);
  else if (typeof value === 'object' && value !== null)
    for (const [key, member] of Object.entries(value)) pathsOf(member, `${path}/${key}`, found);
  return found;
}
