import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';

import { waitUntil } from '#platform/envoy/wait-until.js';

import { ApiConnection } from './api-connection.js';
import type { ApiObject } from './api-object.js';
import { FakeApi } from './fake-api.fixture.js';
import type { FakeChange } from './fake-objects.fixture.js';
import { Reflector } from './reflector.js';

const services = '/api/v1/services';

let api: FakeApi;
let connection: ApiConnection;
let reflector: Reflector<ApiObject>;
let changes: string[];
let faults: string[];

beforeEach(async () => {
  api = await FakeApi.start();
  connection = new ApiConnection(api.access);
  [changes, faults] = [[], []];
  reflector = new Reflector({
    connection,
    path: services,
    onChange: (keys) => changes.push([...keys].sort().join(' ')),
    onError: (error) => faults.push(error),
    tuning: { leastBackoffMs: 5, mostBackoffMs: 40 },
  });
});
afterEach(async () => {
  await reflector.stop();
  connection.close();
  await api.stop();
});

const create = (name: string) => api.objects.create(services, 'default', { metadata: { name } as never });
const change = (name: string, label: string) => api.objects.patch(services, 'default', name, { metadata: { labels: { label } } });
const names = () => [...reflector.objects.keys()].map((key) => key.slice('default/'.length)).sort();
const label = (name: string) => reflector.objects.get(`default/${name}`)?.metadata?.labels?.label;

async function until(what: string, condition: () => boolean): Promise<void> {
  if ((await waitUntil(() => (condition() ? true : null), { timeoutMs: 10_000, everyMs: 2 })) === null) throw new Error(`never: ${what}`);
}

async function follow(): Promise<void> {
  reflector.start();
  await reflector.firstList;
  await until('it watches', () => api.watching === 1);
}

describe('a list that is followed', () => {
  test('says everything once, then what changes', async () => {
    create('a');
    create('b');
    await follow();
    create('c');
    await until('the third is there', () => names().length === 3);
    expect(changes).toEqual(['default/a default/b', 'default/c']);
  });

  test('events that come again change nothing, and older ones do not undo newer ones', async () => {
    await follow();
    const heard: FakeChange[] = [];
    api.objects.onChange((one) => heard.push(one));
    create('a');
    change('a', 'first');
    change('a', 'second');
    create('b');
    api.objects.delete(services, 'default', 'b');
    create('c');
    await until('all is heard', () => names().join() === 'a,c' && label('a') === 'second');
    changes.length = 0;
    api.repeat(heard);
    api.repeat([...heard].reverse());
    create('d');
    await until('what is new is heard', () => names().includes('d'));
    expect(names()).toEqual(['a', 'c', 'd']);
    expect(label('a')).toBe('second');
    expect(changes).toEqual(['default/d']);
  });

  test('a watch that ends is begun again where it was, without a list', async () => {
    create('a');
    await follow();
    create('b');
    await until('it is there', () => names().length === 2);
    api.dropWatches();
    await until('it watches again', () => api.watching === 1);
    create('c');
    await until('what is new is heard', () => names().length === 3);
    expect(api.requests.filter((request) => !request.includes('watch=true'))).toHaveLength(1);
    expect(changes.at(-1)).toBe('default/c');
  });

  test('bookmarks move it on: what is forgotten before them is not missed', async () => {
    create('a');
    await follow();
    api.objects.create('/api/v1/secrets', 'default', { metadata: { name: 'other' } as never });
    api.bookmark();
    create('b');
    await until('it is there', () => names().length === 2);
    api.objects.compact();
    api.dropWatches();
    await until('it watches again', () => api.watching === 1);
    expect(api.requests.filter((request) => !request.includes('watch=true'))).toHaveLength(1);
  });

  test('what was deleted while its version was forgotten is gone after the next list', async () => {
    create('a');
    create('b');
    await follow();
    api.fail({ status: 503 }); // keeps it from watching while things happen
    api.dropWatches();
    api.objects.delete(services, 'default', 'a');
    change('b', 'new');
    create('c');
    api.objects.compact();
    await until('it is listed again', () => names().join() === 'b,c');
    expect(label('b')).toBe('new');
    expect(changes.at(-1)).toBe('default/a default/b default/c');
  });

  test('a list whose pages are forgotten halfway is begun again', async () => {
    await reflector.stop();
    for (const name of ['a', 'b', 'c']) create(name);
    reflector = new Reflector({
      connection,
      path: services,
      onChange: () => undefined,
      onError: (error) => faults.push(error),
      tuning: { leastBackoffMs: 5, mostBackoffMs: 40, pageSize: 2 },
    });
    let isFirst = true;
    api.listGate = async (query) => {
      if (!query.has('continue') || !isFirst) return;
      isFirst = false;
      create('d');
      api.objects.compact();
    };
    reflector.start();
    await reflector.firstList;
    expect(names()).toEqual(['a', 'b', 'c', 'd']);
  });
});

describe('an API server that fails', () => {
  test('takes nothing away, is told once, and is followed again when it is back', async () => {
    create('a');
    await follow();
    await api.stop();
    await until('it is told', () => reflector.error !== '');
    expect(names()).toEqual(['a']);
    create('b');
    await api.start();
    await until('it is followed', () => names().length === 2 && reflector.error === '');
    expect(faults.filter((fault) => fault === '')).toHaveLength(1);
    expect(reflector.restarts).toBeGreaterThan(0);
  });

  test.each([401, 403, 500, 503])('answers %i: it is said, and tried again', async (status) => {
    create('a');
    api.fail({ status }, { status }, { status });
    reflector.start();
    await reflector.firstList;
    expect(faults[0]).toContain(String(status));
    expect(names()).toEqual(['a']);
  });

  test('a token that ends is said, and a new one is used', async () => {
    create('a');
    await follow();
    api.expireTokens(true);
    api.dropWatches();
    await until('it is told', () => reflector.error.includes('401'));
    expect(names()).toEqual(['a']);
    api.expireTokens(false);
    await until('nothing is wrong', () => reflector.error === '');
  });

  test('asks for patience and gets it', async () => {
    create('a');
    api.fail({ status: 429, headers: { 'retry-after': '1' } });
    const startedMs = performance.now();
    reflector.start();
    await reflector.firstList;
    expect(performance.now() - startedMs).toBeGreaterThan(950);
  });

  test('the pauses grow as long as nothing is heard, though it can be connected to', async () => {
    create('a');
    await follow();
    for (let i = 0; i < 40; i++) api.fail({ status: 500 });
    const [before, startedMs] = [api.requests.length, performance.now()];
    api.dropWatches();
    await until('all of them are over', () => api.requests.length >= before + 41);
    expect(performance.now() - startedMs).toBeGreaterThan(36 * 20); // at least half of 40 ms each, but for the first few
  });
});
