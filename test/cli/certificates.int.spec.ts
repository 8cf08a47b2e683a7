import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';

import { makeCertificate } from '#features/certificate/certificate.fixture.js';
import { sqlQuery } from '#platform/database/database.js';
import { KeyFile } from '#platform/vault/key-file.js';
import { Secret } from '#platform/vault/secret.js';
import { Vault } from '#platform/vault/vault.js';

import { startTestApi, type TestApi } from '../../apps/api/test-api.js';
import { buildCommand, type Ran, runCommand } from './command.fixture.js';

// Each command is a process of its own, and the machine may be busy.
jest.setTimeout(120_000);

let test: TestApi;
let folder: string;
let keys: string;
let env: Record<string, string>;

beforeAll(async () => {
  buildCommand();
  folder = mkdtempSync(join(tmpdir(), 'chancery-cert-'));
  keys = join(folder, 'keys.json');
  test = await startTestApi({ CHANCERY_KEK_FILE: keys });
  env = { HOME: folder, CHANCERY_API: test.api.url, CHANCERY_TOKEN: test.token, CHANCERY_KEK_FILE: keys, DATABASE_URL: test.database.url };
});
afterAll(async () => {
  await test?.close();
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
});

const run = (line: string, more: Record<string, string> = {}): Promise<Ran> => runCommand(line.split(' '), { env: { ...env, ...more } });
async function done(line: string): Promise<string> {
  const { status, stdout, stderr } = await run(line);
  if (status !== 0) throw new Error(`chancery ${line} ended with ${status}: ${stdout}${stderr}`);
  return stdout;
}
const file = (name: string, text: string) => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};

describe('keys and cert', () => {
  it('make the key file once, private', async () => {
    expect((await run('keys list')).stderr).toContain('cannot be read (ENOENT)');
    expect(await done('keys make')).toMatch(/^Made: .*keys\.json with the key \d{4}-\d\d-\d\d-[0-9a-f]{6}\./);
    expect((statSync(keys).mode & 0o777).toString(8)).toBe('600');
    const again = await run('keys make');
    expect([again.status, again.stderr]).toEqual([2, expect.stringContaining('exists')]);
    expect((await run('keys list', { CHANCERY_KEK_FILE: '' })).stderr).toContain('Say --file, or set CHANCERY_KEK_FILE');
  });

  it('push a certificate, list it, show it and its chain, and remove it', async () => {
    const made = await makeCertificate({ dns: ['edge.example.com'], until: 20 });
    const [chain, key] = [file('chain.pem', made.pem), file('key.pem', made.key)];
    expect(await done(`cert push edge ${chain} ${key} --dry-run`)).toContain('+ certificate/edge');
    const pushed = await done(`cert push edge ${chain} ${key}`);
    expect(pushed).toMatch(/^Made: "edge" in version \d+; it lasts until .* \(19 days\)\.\n! self_signed: .*\n! expires_soon/);
    expect(await done(`cert push edge ${chain} ${key}`)).toMatch(/^Unchanged: "edge"/);
    expect(await done('cert list')).toMatch(/NAME +STATE +DAYS +EXPIRES +NAMES.*\nedge +expiring +19 .*edge\.example\.com/);
    expect(await done('status')).toMatch(
      /Certificates that end within 30 days, or have\nCERTIFICATE +STATE +DAYS +EXPIRES\nedge +expiring +19/,
    );
    expect(await done('cert show edge')).toMatch(/sha256 +[0-9a-f]{64}/);
    await sqlQuery(
      test.api.database.db,
      "INSERT INTO chancery.certificate_status SELECT gateway, name, $1, 'envoy_refused', 'no such curve' FROM chancery.secret WHERE name = 'edge'",
      [JSON.parse(await done('cert get edge -o json')).fingerprint],
    );
    expect(await done('cert list')).toMatch(/edge .* 0\/0 +envoy_refused/);
    expect(await done('cert get edge')).toMatch(/problem +envoy_refused, since .*: no such curve/);
    expect(await done('status')).toMatch(/not served as they are\nCERTIFICATE +CODE +REASON\nedge +envoy_refused +no such curve/);
    expect(await done('cert show edge --chain')).toBe(made.pem);
    const swapped = await run(`cert push edge ${key} ${chain}`);
    expect([swapped.status, swapped.stderr]).toEqual([2, expect.stringContaining('private key among the certificates')]);
    expect(swapped.stdout + swapped.stderr).not.toContain(made.key.slice(60, 100));
    expect((await run(`cert push edge ${folder}/none ${key}`)).stderr).toContain('cannot be read (ENOENT)');
    expect(await done('cert remove edge --reason moved')).toMatch(/^Removed: "edge" in version \d+/);
    expect((await run('cert show edge')).status).toBe(1);
    expect(await done('cert list')).toBe('There is no certificate.\n');
  });
});

describe('keys rotate', () => {
  it('may be killed after each row; every secret opens at every moment, and the rest is done by the next', async () => {
    const { db } = test.api.database;
    const vault = new Vault(db, new KeyFile(keys));
    const owner = { gateway: 'default', name: 'killed' };
    const refs = await Promise.all(Array.from({ length: 5 }, (_, i) => vault.put(owner, new Secret(`key ${i}`), '')));
    const opened = async () => Promise.all(refs.map(async (ref) => (await vault.open(owner, ref)).reveal()));
    const [first = ''] = Object.keys(JSON.parse(readFileSync(keys, 'utf8')).keys);
    const second = /^Added: (\S+),/.exec(await done('keys add'))?.[1] ?? '';
    const under = async (id: string) =>
      (await sqlQuery<{ count: number }>(db, 'SELECT count(*)::int AS count FROM chancery.secret WHERE kek_id = $1', [id]))[0]?.count ?? 0;
    const all = await under(first);
    const failpoints = join(folder, 'failpoints');
    mkdirSync(failpoints);
    for (let killed = 1; killed <= 5; killed++) {
      writeFileSync(join(failpoints, 'keys.afterRewrap'), 'kill');
      const { status } = await run('keys rotate', { CHANCERY_FAILPOINT_DIR: failpoints });
      expect([status, existsSync(join(failpoints, 'keys.afterRewrap.reached'))]).toEqual([null, true]);
      rmSync(join(failpoints, 'keys.afterRewrap.reached'));
      expect([await under(second), await under(first)]).toEqual([killed, all - killed]);
      expect(await opened()).toEqual(refs.map((_, i) => `key ${i}`));
      const kept = await run(`keys remove ${first}`);
      if (killed < all) expect([kept.status, kept.stderr]).toEqual([5, expect.stringContaining(`are under the key ${first}`)]);
    }
    expect(await done('keys rotate')).toContain(`brought under the key ${second}`);
    expect(await done('keys list')).toMatch(new RegExp(`${first} +0 +reads\\n|${second} +${all} +writes\\n`));
    expect(await done(`keys remove ${first}`)).toMatch(/^Removed: /);
    expect(Object.keys(JSON.parse(readFileSync(keys, 'utf8')).keys)).toEqual([second]);
    expect(await opened()).toEqual(refs.map((_, i) => `key ${i}`));
    expect((await run(`keys remove ${second}`)).status).toBe(5);
  });
});
