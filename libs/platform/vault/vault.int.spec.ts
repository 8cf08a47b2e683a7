import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';

import { type Database, openDatabase, sqlQuery } from '#platform/database/database.js';
import { DomainError } from '#platform/kernel/errors.js';

import { createTestDatabase, type TestDatabase } from '../../../test/support/test-database.js';
import { ensureKeyFile, KeyFile, readKeyFile, withNewKey, writeKeyFile } from './key-file.js';
import { countSecrets, rotateSecrets, withoutKey } from './rotation.js';
import { Secret } from './secret.js';
import { presentSecrets, type SecretRef, Vault } from './vault.js';

const owner = { gateway: 'default', name: 'edge' };
let test: TestDatabase;
let database: Database;
let admin: Database;
let folder: string;
let path: string;
let vault: Vault;

beforeAll(async () => {
  test = await createTestDatabase();
  database = openDatabase({ url: test.url, applicationName: 'test' });
  admin = openDatabase({ url: test.adminUrl, applicationName: 'test-admin' });
});
afterAll(async () => {
  await database.close();
  await admin.close();
  await test.drop();
});
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'chancery-vault-'));
  path = join(folder, 'keys.json');
  writeKeyFile(path, withNewKey(undefined, 'one'));
  vault = new Vault(database.db, new KeyFile(path));
  await sqlQuery(admin.db, 'DELETE FROM chancery.secret', []);
});

afterEach(() => rmSync(folder, { recursive: true }));

const put = (text = 'a key', at = owner) => vault.put(at, new Secret(text), 'open');
const text = async (ref: SecretRef, at = owner) => (await vault.open(at, ref)).reveal();
const code = (work: Promise<unknown> | (() => unknown)) =>
  (typeof work === 'function' ? Promise.resolve().then(work) : work).then(
    () => 'none',
    (error: unknown) => (error instanceof DomainError ? error.code : String(error)),
  );
const change = (statement: string, ...values: unknown[]) => sqlQuery(admin.db, statement, values);

describe('the vault', () => {
  it('keeps secrets, counts those of one name, and forgets them', async () => {
    const [first, second, elsewhere] = [await put('one'), await put('two'), await put('three', { gateway: 'other', name: 'edge' })];
    expect([first.version, second.version, elsewhere.version]).toEqual([1, 2, 1]);
    expect([await text(first), await text(second)]).toEqual(['one', 'two']);
    expect(await vault.readOpenPart(owner, first)).toBe('open');
    await vault.destroy([first.id]);
    expect(await code(text(first))).toBe('secret_missing');
    expect(await presentSecrets(database.db, [first.id, second.id])).toEqual(new Set([second.id]));
    expect(await code(text(second, { ...owner, name: 'other' }))).toBe('secret_missing');
  });

  it('gives many writers of one name versions of their own', async () => {
    const refs = await Promise.all(Array.from({ length: 12 }, (_, i) => put(`key ${i}`)));
    expect(refs.map(({ version }) => version).sort((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
  });

  it('holds nothing readable in its rows', async () => {
    await put('MARKER-OF-A-KEY');
    const rows = await sqlQuery<{ row: string }>(
      admin.db,
      "SELECT s::text || encode(s.ciphertext, 'escape') AS row FROM chancery.secret s",
      [],
    );
    expect(rows).toHaveLength(1);
    expect(rows[0]?.row).not.toContain('MARKER');
  });

  it.each(['wrapped_key', 'iv', 'tag', 'ciphertext'])('does not open a row whose %s was altered', async (column) => {
    const ref = await put();
    const [row] = await sqlQuery<{ bytes: number }>(admin.db, `SELECT octet_length(${column}) AS bytes FROM chancery.secret`, []);
    for (const at of [0, (row?.bytes ?? 1) - 1]) {
      await change(`UPDATE chancery.secret SET ${column} = set_byte(${column}, $1, get_byte(${column}, $1) # 1)`, at);
      expect(await code(text(ref))).toBe('secret_broken');
      await change(`UPDATE chancery.secret SET ${column} = set_byte(${column}, $1, get_byte(${column}, $1) # 1)`, at);
    }
    expect(await text(ref)).toBe('a key');
  });

  it('does not open rows that were exchanged, whole or in part, or beside another chain', async () => {
    const [a, b] = [await put('first'), await put('second')];
    const columns = ['ciphertext', 'iv', 'tag', 'wrapped_key'];
    for (const some of [columns, columns.slice(0, 3), columns.slice(3)]) {
      const swap = `UPDATE chancery.secret s SET ${some.map((one) => `${one} = o.${one}`).join(', ')} FROM chancery.secret o WHERE o.id <> s.id`;
      await change(swap);
      expect([await code(text(a)), await code(text(b))]).toEqual(['secret_broken', 'secret_broken']);
      await change(swap);
    }
    expect([await text(a), await text(b)]).toEqual(['first', 'second']);
    await change("UPDATE chancery.secret SET open_part = 'another' WHERE id = $1", a.id);
    expect([await code(text(a)), await text(b)]).toEqual(['secret_broken', 'second']);
  });

  it('lets the application change nothing but the key that a secret is under', async () => {
    await put();
    await expect(sqlQuery(database.db, "UPDATE chancery.secret SET open_part = 'x'", [])).rejects.toThrow(/permission denied/);
    await expect(sqlQuery(database.db, "UPDATE chancery.secret SET ciphertext = ''", [])).rejects.toThrow(/permission denied/);
  });
});

describe('the key file', () => {
  it('is made private, once', () => {
    const made = join(folder, 'made.json');
    ensureKeyFile(made);
    const first = readFileSync(made, 'utf8');
    ensureKeyFile(made);
    expect([readFileSync(made, 'utf8'), (statSync(made).mode & 0o777).toString(8)]).toEqual([first, '600']);
    expect(readKeyFile(made).writes.bytes).toHaveLength(32);
  });

  it('says what is wrong with it, and never what is in it', async () => {
    const refusal = (content: string) => {
      writeFileSync(path, content);
      return code(() => new KeyFile(path).keys());
    };
    const key = 'c2VjcmV0LW1hcmtlci1vZi1hLWtleS1maWxlLTAxMjM=';
    for (const content of [
      '',
      'not json',
      '[]',
      '{}',
      '{"keys": []}',
      '{"keys": {}}',
      `{"keys": {"a": "${key}"}}`,
      `{"writes": "b", "keys": {"a": "${key}"}}`,
      '{"writes": "a", "keys": {"a": "c2hvcnQ="}}',
      `{"writes": "a b", "keys": {"a b": "${key}"}}`,
    ])
      expect([content, await refusal(content)]).toEqual([content, 'key_file_malformed']);
    writeFileSync(path, `{"writes": "a", "keys": {"a": "${key}"`);
    expect(() => new KeyFile(path).keys()).toThrow(expect.not.objectContaining({ message: expect.stringContaining('c2VjcmV0') }));
    expect(await code(() => new KeyFile(join(folder, 'nowhere')).keys())).toBe('key_file_unreadable');
    expect(await code(() => new KeyFile(undefined).keys())).toBe('key_file_unset');
  });

  it('is refused when everybody may read it', async () => {
    chmodSync(path, 0o644);
    expect(await code(put())).toBe('key_file_open');
    chmodSync(path, 0o640);
    expect(await code(put())).toBe('none');
  });

  it('may go and come back; secrets wait for it', async () => {
    const ref = await put();
    const content = readFileSync(path);
    rmSync(path);
    expect([await code(text(ref)), await code(put())]).toEqual(['key_file_unreadable', 'key_file_unreadable']);
    expect(await vault.readOpenPart(owner, ref)).toBe('open');
    writeFileSync(path, content, { mode: 0o600 });
    expect(await text(ref)).toBe('a key');
  });

  it('may be exchanged for another one; what its keys do not open says so', async () => {
    const ref = await put();
    writeKeyFile(path, withNewKey(undefined, 'two'));
    expect(await code(text(ref))).toBe('key_missing');
    writeKeyFile(path, withNewKey(undefined, 'one'));
    expect(await code(text(ref))).toBe('secret_broken');
  });
});

describe('a rotation', () => {
  it('brings all secrets under the new key, whichever way it is broken off, and what it meets under way stays readable', async () => {
    const refs = await Promise.all(Array.from({ length: 7 }, (_, i) => put(`key ${i}`)));
    const ring = withNewKey(readKeyFile(path), 'two');
    writeKeyFile(path, ring);
    expect((await put('new')).version).toBe(8);
    expect(await countSecrets(database.db)).toEqual(
      new Map([
        ['one', 7],
        ['two', 1],
      ]),
    );
    await expect(withoutKey(database.db, ring, 'one')).rejects.toMatchObject({ code: 'key_in_use' });
    await expect(withoutKey(database.db, ring, 'two')).rejects.toMatchObject({ code: 'key_in_use' });
    await expect(withoutKey(database.db, ring, 'three')).rejects.toMatchObject({ code: 'key_not_found' });
    expect(await rotateSecrets(database.db, ring)).toEqual({ rewrapped: 7, failed: [] });
    expect(await rotateSecrets(database.db, ring)).toEqual({ rewrapped: 0, failed: [] });
    writeKeyFile(path, await withoutKey(database.db, ring, 'one'));
    expect(await Promise.all(refs.map((ref) => text(ref)))).toEqual(refs.map((_, i) => `key ${i}`));
  });

  it('leaves what it cannot open as it is, says so, and does the rest', async () => {
    const [lost, damaged, good] = [await put('lost'), await put('damaged'), await put('good')];
    await change("UPDATE chancery.secret SET kek_id = 'gone' WHERE id = $1", lost.id);
    await change(
      'UPDATE chancery.secret SET wrapped_key = set_byte(wrapped_key, 20, get_byte(wrapped_key, 20) # 1) WHERE id = $1',
      damaged.id,
    );
    const ring = withNewKey(readKeyFile(path), 'two');
    writeKeyFile(path, ring);
    const { rewrapped, failed } = await rotateSecrets(database.db, ring);
    expect([rewrapped, failed.map(({ id }) => id).sort()]).toEqual([1, [lost.id, damaged.id].sort()]);
    expect(await text(good)).toBe('good');
    await expect(withoutKey(database.db, ring, 'one')).rejects.toMatchObject({ code: 'key_in_use' });
  });
});
