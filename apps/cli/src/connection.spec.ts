import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

import { readCliConfig } from '#platform/config/cli-config.js';

import { eventsOf, linesOf } from './answer-stream.js';
import { apiPath, gatewayPath } from './api-client.js';
import { apiUrl, findConnection } from './connection.js';
import { readDocument } from './document-file.js';
import { readStoredLogin, removeStoredLogin, storedLoginPath, writeStoredLogin } from './stored-login.js';

let folder: string;
const file = (name: string) => join(folder, name);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'chancery-cli-'));
  writeFileSync(file('token'), 'chy_of-the-file\n');
  writeFileSync(file('checkout'), 'chy_of-the-checkout\n');
  writeFileSync(file('words'), 'two words');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const find = (
  env: Record<string, string>,
  options: { api?: string; tokenFile?: string; stored?: string; checkout?: string; state?: string } = {},
) =>
  findConnection({
    api: options.api,
    tokenFile: options.tokenFile,
    config: readCliConfig(env),
    storedLogin: options.stored ?? file('no-login'),
    checkoutToken: options.checkout ?? file('no-checkout'),
    checkoutState: options.state ?? file('no-state'),
  });

describe('where the API is and as whom it is asked', () => {
  it('is this machine and nobody, when nothing is said', () => {
    expect(find({})).toEqual({ url: 'http://127.0.0.1:8888', urlSource: 'the default', token: undefined });
  });

  it('follows the order of the help', () => {
    const stored = file('order.json');
    writeStoredLogin(stored, { api: 'https://stored.example', token: 'chy_stored' });
    const env = { CHANCERY_API: 'https://env.example/', CHANCERY_TOKEN: 'chy_env', CHANCERY_TOKEN_FILE: file('token') };
    expect(find(env, { api: 'https://flag.example/x/', tokenFile: file('token'), stored })).toMatchObject({
      url: 'https://flag.example/x',
      token: { value: 'chy_of-the-file' },
    });
    expect(find(env, { stored })).toMatchObject({
      url: 'https://env.example',
      urlSource: 'CHANCERY_API',
      token: { source: 'CHANCERY_TOKEN' },
    });
    expect(find({ CHANCERY_TOKEN_FILE: file('token') }, { stored })).toMatchObject({
      url: 'https://stored.example',
      token: { value: 'chy_of-the-file', source: expect.stringContaining('CHANCERY_TOKEN_FILE') },
    });
    expect(find({}, { stored }).token).toMatchObject({ value: 'chy_stored', source: expect.stringContaining(stored) });
  });

  it('is where bin/dev serves, whatever port it took', () => {
    const state = file('dev.json');
    writeFileSync(state, JSON.stringify({ ports: { api: 9888 } }));
    expect(find({}, { state, checkout: file('checkout') })).toMatchObject({
      url: 'http://127.0.0.1:9888',
      urlSource: expect.stringContaining('bin/dev'),
      token: { value: 'chy_of-the-checkout' },
    });
    expect(find({ CHANCERY_API: 'https://env.example' }, { state }).url).toBe('https://env.example');
    for (const damaged of ['', '{}', 'null', '{"ports":{"api":"x"}}']) {
      writeFileSync(state, damaged);
      expect(find({}, { state }).url).toBe('http://127.0.0.1:8888');
    }
  });

  it('never sends a kept token to another address than its own', () => {
    const stored = file('own.json');
    writeStoredLogin(stored, { api: 'https://stored.example', token: 'chy_stored' });
    expect(find({}, { api: 'https://other.example', stored, checkout: file('checkout') }).token).toBeUndefined();
    expect(find({}, { api: 'http://stored.example', stored }).token).toBeUndefined();
    expect(find({}, { api: 'http://[::1]:9888', stored, checkout: file('checkout') }).token?.value).toBe('chy_of-the-checkout');
  });

  it.each(['ftp://x', 'nonsense', '', 'http://x:chy_secret@host'])('refuses the address %j without repeating it', (text) => {
    expect(() => apiUrl(text, '--api')).toThrow(/^--api (must be|holds)/);
    expect(() => apiUrl(text, '--api')).not.toThrow(/chy_secret/);
  });

  it('names a token file that cannot be used', () => {
    expect(() => find({}, { tokenFile: file('missing') })).toThrow(/--token-file: the token file .* \(ENOENT\)/);
    expect(() => find({}, { tokenFile: file('words') })).toThrow(/holds no token/);
    expect(() => find({ CHANCERY_TOKEN: 'two words' })).toThrow(/^CHANCERY_TOKEN holds no token/);
  });
});

describe('the kept login', () => {
  it('is for its owner only, and replaced whole', () => {
    const path = storedLoginPath(file('config'));
    writeStoredLogin(path, { api: 'http://a', token: 'one' });
    writeStoredLogin(path, { api: 'http://b', token: 'two' });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(path, '..')).mode & 0o777).toBe(0o700);
    expect(readStoredLogin(path)).toEqual({ api: 'http://b', token: 'two' });
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({ api: 'http://b', token: 'two' });
    expect([removeStoredLogin(path), removeStoredLogin(path), readStoredLogin(path)]).toEqual([true, false, undefined]);
  });

  it.each(['', 'null', '{"api":1}', '[]', '{"api":"http://a"'])('that holds %j is named as unusable', (text) => {
    writeFileSync(file('broken.json'), text);
    expect(() => readStoredLogin(file('broken.json'))).toThrow(/broken\.json.*cannot be used/);
  });
});

describe('addresses', () => {
  it('keep a name one step, whatever it holds', () => {
    expect(gatewayPath('default', 'mappings', 'a/b?c#d%', 3)).toBe('/v1/gateways/default/mappings/a%2Fb%3Fc%23d%25/3');
    for (const name of ['', '.', '..', '\ud800']) expect(() => apiPath('v1', name)).toThrow();
  });
});

describe('a document', () => {
  const read = (text: string | Buffer) => readDocument('-', Readable.from([Buffer.from(text)]));

  it('is JSON as it is, or YAML as JSON', async () => {
    expect(await read('{ "a": 1, "a": 2 }')).toBe('{ "a": 1, "a": 2 }');
    expect(await read('mappings:\n  - name: x\n    prefix: /x/\n    on: yes\n')).toBe(
      '{"mappings":[{"name":"x","prefix":"/x/","on":"yes"}]}',
    );
  });

  it.each([
    ['', /is empty/],
    ['# only a comment\n', /is empty|null/],
    ['a: 1\na: 2\n', /unique/],
    ['a: [1\n', /neither JSON nor YAML/],
    ['a: 1\n---\nb: 2\n', /several documents/],
    ['a: .nan\n', /JSON cannot/],
    ['a: &x [1]\nb: *y\n', /neither JSON nor YAML|JSON cannot/],
  ])('%j is refused', async (text, why) => {
    await expect(read(text)).rejects.toThrow(why);
  });

  it('must be UTF-8, and be there', async () => {
    await expect(read(Buffer.from([0xff, 0xfe, 0x41]))).rejects.toThrow(/no UTF-8/);
    await expect(readDocument(file('missing.yaml'), Readable.from([]))).rejects.toThrow(/ENOENT/);
  });
});

describe('an answer that comes in pieces', () => {
  const collect = async <T>(items: AsyncIterable<T>) => {
    const all: T[] = [];
    for await (const item of items) all.push(item);
    return all;
  };
  const pieces = (...texts: string[]) => linesOf(Readable.from(texts));

  it('is cut at line ends only, and an unfinished line is left out', async () => {
    expect(await collect(pieces('a', 'b\r\nc\n\nd', 'e'))).toEqual(['ab', 'c', '']);
  });

  it('is read as events with their ids', async () => {
    const events = await collect(
      eventsOf(pieces(': still here\n\nid: 1\nevent: x\nda', 'ta: {"a":\ndata: 1}\n\nid:2\ndata:b\n\ndata: cut off')),
    );
    expect(events).toEqual([
      { id: '1', data: '{"a":\n1}' },
      { id: '2', data: 'b' },
    ]);
  });
});
