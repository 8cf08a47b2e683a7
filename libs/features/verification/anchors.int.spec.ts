import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { appendFileSync, chmodSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';

import { readHeads } from '#platform/eventstore/log-heads.js';
import { sha256Hex } from '#platform/kernel/digest.js';

import { aContext, anEvent, type LogFixture, openLog } from '../../../test/support/log-fixture.js';
import { AnchorArchive } from './anchor-archive.js';
import { openAnchorKey } from './anchor-key.js';
import { checkAnchors, signAnchor } from './anchor-line.js';
import { AnchorWriter } from './anchor-writer.js';
import { silent } from './tampering.fixture.js';

const NOW = new Date('2026-03-01T12:00:00.000Z');
const head = (version: number, stream = 'gateway/a') => ({ stream, version, hash: sha256Hex(`${stream} ${version}`) });

let folder: string;
let file: string;
let keyFile: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'chancery-anchors-'));
  file = join(folder, 'anchors.jsonl');
  keyFile = join(folder, 'key.pem');
});
afterEach(() => rmSync(folder, { recursive: true }));

const writer = () => new AnchorWriter({ path: file, keyFile, log: silent });
const lines = () => readFileSync(file, 'utf8').trimEnd().split('\n');
const publicKey = () => createPublicKey(readFileSync(`${keyFile}.pub`));
/** What the offline check says of each line, in short. */
const verdicts = (text: readonly string[] = lines()) =>
  [...checkAnchors(text, publicKey())].map((checked) => ('torn' in checked ? 'torn' : (checked.fault?.kind ?? 'good')));

describe('the key', () => {
  test('is made once, for its owner alone, its public half beside it', () => {
    const key = openAnchorKey(keyFile);
    expect([statSync(keyFile).mode & 0o777, statSync(`${keyFile}.pub`).mode & 0o777]).toEqual([0o600, 0o644]);
    expect(readFileSync(keyFile, 'utf8')).toMatch(/^-----BEGIN PRIVATE KEY-----/);
    expect(openAnchorKey(keyFile).equals(key)).toBe(true);
    rmSync(`${keyFile}.pub`);
    openAnchorKey(keyFile);
    expect(publicKey().equals(createPublicKey(key))).toBe(true);
  });

  test('that others may read, of another kind, or with a strange public half is refused with what to do', () => {
    openAnchorKey(keyFile);
    chmodSync(keyFile, 0o640);
    expect(() => openAnchorKey(keyFile)).toThrow('chmod 600');
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    writeFileSync(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }));
    chmodSync(keyFile, 0o600);
    expect(() => openAnchorKey(keyFile)).toThrow('Ed25519');
    writeFileSync(keyFile, generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }));
    expect(() => openAnchorKey(keyFile)).toThrow('is not the public half');
    writeFileSync(keyFile, 'nonsense');
    expect(() => openAnchorKey(keyFile)).toThrow();
  });
});

describe('writing', () => {
  test('one line for the heads that moved, none when none did; each names the one before', async () => {
    const one = writer();
    expect(await one.append([head(1), head(4, 'access')], NOW)).toBe(2);
    expect(await one.append([head(1), head(4, 'access')], NOW)).toBe(0);
    expect(await one.append([head(2), head(4, 'access')], NOW)).toBe(1);
    const [first, second] = lines().map((line) => JSON.parse(line));
    expect(first).toEqual({
      time: NOW.toISOString(),
      heads: [head(1), head(4, 'access')],
      previous: null,
      signature: expect.stringMatching(/^[\w+/]{86}==$/),
    });
    expect(second).toMatchObject({ heads: [head(2)], previous: sha256Hex(lines()[0] ?? '') });
    expect(verdicts()).toEqual(['good', 'good']);
  });

  test('a restart, and another owner, go on where the file ends', async () => {
    const [one, other] = [writer(), writer()];
    await one.append([head(1)], NOW);
    await other.append([head(1), head(1, 'gateway/b')], NOW);
    await one.append([head(2), head(1, 'gateway/b')], NOW);
    expect(await writer().append([head(2), head(1, 'gateway/b')], NOW)).toBe(0);
    expect(lines().map((line) => JSON.parse(line).heads.length)).toEqual([1, 1, 1]);
    expect(verdicts()).toEqual(['good', 'good', 'good']);
  });

  test('a head that went back is anchored as it is: both are evidence', async () => {
    const one = writer();
    await one.append([head(5)], NOW);
    await one.append([head(3)], NOW);
    expect(lines().map((line) => JSON.parse(line).heads[0].version)).toEqual([5, 3]);
  });

  test.each([1, 40, -2, -1])(
    'a write that did not end (%s bytes of it are there) is closed and left, and the anchor written again',
    async (bytes) => {
      await writer().append([head(1)], NOW);
      const whole = readFileSync(file);
      await writer().append([head(2)], NOW);
      const { length } = readFileSync(file);
      truncateSync(file, bytes > 0 ? whole.length + bytes : length + bytes);
      await writer().append([head(2)], NOW);
      await writer().append([head(3)], NOW);
      // What lost only its line break is a whole anchor once it has one.
      expect(verdicts()).toEqual(bytes === -1 ? ['good', 'good', 'good'] : ['good', 'torn', 'good', 'good']);
      expect(JSON.parse(lines().at(-1) ?? '').heads).toEqual([head(3)]);
    },
  );

  test('a file that was taken away is begun anew, with every head', async () => {
    const one = writer();
    await one.append([head(1), head(1, 'gateway/b')], NOW);
    renameSync(file, `${file}.old`);
    expect(await one.append([head(2), head(1, 'gateway/b')], NOW)).toBe(2);
    expect(JSON.parse(lines()[0] ?? '').previous).toBeNull();
    expect(verdicts()).toEqual(['good']);
  });

  test('a folder that is not there is an error, and the next try succeeds when it is', async () => {
    openAnchorKey(keyFile);
    const one = new AnchorWriter({ path: join(folder, 'missing', 'anchors.jsonl'), keyFile, log: silent });
    await expect(one.append([head(1)], NOW)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('the check without a database', () => {
  beforeEach(async () => {
    const one = writer();
    for (let version = 1; version <= 5; version++) await one.append([head(version)], NOW);
  });
  const damaged = (line: string) => line.replace(/"version":\d/, '"version":9');
  const forged = (previous: string | null) =>
    signAnchor({ time: NOW.toISOString(), heads: [head(9)], previous }, generateKeyPairSync('ed25519').privateKey);

  test('yields every anchor with its heads', () => {
    const all = [...checkAnchors(lines(), publicKey())];
    expect(all.map(({ line, anchor }) => [line, anchor?.heads[0]])).toEqual([1, 2, 3, 4, 5].map((version) => [version, head(version)]));
  });

  test.each<[string, (text: string[]) => string[], string[]]>([
    ['an edited first line', (text) => text.with(0, damaged(text[0] ?? '')), ['anchor_invalid', 'good', 'good', 'good', 'good']],
    ['an edited line in the middle', (text) => text.with(2, damaged(text[2] ?? '')), ['good', 'good', 'anchor_invalid', 'good', 'good']],
    ['an edited last line', (text) => text.with(4, damaged(text[4] ?? '')), ['good', 'good', 'good', 'good', 'anchor_invalid']],
    [
      'another signature',
      (text) => text.with(2, (text[2] ?? '').replace(/.{20}=="}$/, `${'A'.repeat(20)}=="}`)),
      ['good', 'good', 'anchor_invalid', 'good', 'good'],
    ],
    ['a deleted first line', (text) => text.slice(1), ['anchor_chain_broken', 'good', 'good', 'good']],
    ['a deleted line', (text) => text.toSpliced(2, 1), ['good', 'good', 'anchor_chain_broken', 'good']],
    ['a repeated line', (text) => text.toSpliced(2, 0, text[1] ?? ''), ['good', 'good', 'anchor_chain_broken', 'good', 'good', 'good']],
    [
      'two lines exchanged',
      (text) => text.with(1, text[2] ?? '').with(2, text[1] ?? ''),
      ['good', 'anchor_chain_broken', 'anchor_chain_broken', 'anchor_chain_broken', 'good'],
    ],
    [
      'a line of another key',
      (text) => text.toSpliced(2, 0, forged(sha256Hex(text[1] ?? ''))),
      ['good', 'good', 'anchor_invalid', 'good', 'good', 'good'],
    ],
    ['a line made unreadable', (text) => text.with(2, 'x'), ['good', 'good', 'torn', 'anchor_chain_broken', 'good']],
    ['an empty line', (text) => text.toSpliced(2, 0, ''), ['good', 'good', 'torn', 'good', 'good', 'good']],
  ])('%s', (_, change, expected) => {
    expect(verdicts(change(lines()))).toEqual(expected);
  });

  test('a signed line that is no anchor', () => {
    const key = createPrivateKey(readFileSync(keyFile));
    const line = signAnchor({ time: 'yesterday', heads: [], previous: null }, key);
    expect(verdicts([line])).toEqual(['anchor_invalid']);
  });

  test('an auditor can do it with openssl and sha256sum: the signed text is the line without its last member', () => {
    const [first, second] = lines();
    expect(JSON.parse(second ?? '').previous).toBe(sha256Hex(first ?? ''));
    expect(first).toMatch(
      /^\{"time":"[^"]+","heads":\[\{"stream":"gateway\/a","version":1,"hash":"[0-9a-f]{64}"\}\],"previous":null,"signature":"[^"]+"\}$/,
    );
  });
});

describe('reading it beside the database', () => {
  let log: LogFixture;
  beforeAll(async () => {
    log = await openLog();
    for (let n = 1; n <= 3; n++)
      await log.store.handle({ stream: 'gateway/a', subjects: ['thing/x'], context: aContext() }, () => [anEvent('thing/x', { n })]);
  });
  afterAll(() => log.close(), 30_000);
  const archive = () => new AnchorArchive({ file, publicKeyFile: `${keyFile}.pub` });
  const kinds = async (one: AnchorArchive, whole = false) => (await one.check(log.database.db, { whole })).faults.map(({ kind }) => kind);
  const anchor = async () => writer().append(await readHeads(log.database.db), NOW);

  test('no file yet, a file, a torn end', async () => {
    const one = archive();
    expect(await one.check(log.database.db, { whole: false })).toMatchObject({ empty: true, faults: [], count: 0 });
    await anchor();
    appendFileSync(file, '{"time":"2026');
    expect(await one.check(log.database.db, { whole: false })).toMatchObject({
      empty: false,
      faults: [],
      count: 1,
      torn: 0,
      lastAt: NOW.toISOString(),
    });
  });

  test.each<[string, () => void, string]>([
    ['shortened', () => truncateSync(file, 10), 'anchor_file_rewritten'],
    ['removed', () => rmSync(file), 'anchor_unreadable'],
    ['replaced by a copy', () => writeFileSync(`${file}.new`, readFileSync(file)), 'anchor_file_rewritten'],
    ['signed by a key that is gone', () => rmSync(`${keyFile}.pub`), 'anchor_unreadable'],
    ['signed by a key that is none', () => writeFileSync(`${keyFile}.pub`, 'nonsense'), 'anchor_unreadable'],
  ])('a file that is %s after it was read', async (_, change, kind) => {
    const one = archive();
    await anchor();
    expect(await kinds(one)).toEqual([]);
    change();
    if (kind === 'anchor_file_rewritten' && statSync(file).size > 10) renameSync(`${file}.new`, file);
    expect((await kinds(one))[0]).toBe(kind);
    expect((await kinds(one, true))[0]).toBe(kind);
  });

  test('an anchor of a version that nobody recorded, signed with the key', async () => {
    await anchor();
    const forged = { stream: 'gateway/a', version: 2, hash: 'ab'.repeat(32) };
    const [line] = lines();
    appendFileSync(
      file,
      `${signAnchor({ time: NOW.toISOString(), heads: [forged], previous: sha256Hex(line ?? '') }, createPrivateKey(readFileSync(keyFile)))}\n`,
    );
    const { faults } = await archive().check(log.database.db, { whole: true });
    expect(faults).toMatchObject([{ kind: 'anchor_mismatch', line: 2, stream: 'gateway/a', to: 2 }]);
  });

  test('a check that was broken off is not gone on with: nothing is passed over', async () => {
    await anchor();
    const one = archive();
    await expect(one.check(log.database.db, { whole: false, signal: AbortSignal.abort(new Error('gone')) })).rejects.toThrow('gone');
    expect((await one.check(log.database.db, { whole: false })).judgement.matched()).toMatchObject([{ stream: 'gateway/a', version: 3 }]);
  });
});
