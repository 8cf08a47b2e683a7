import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { badPairs } from '#features/certificate/bad-pairs.fixture.js';
import { type MadeCertificate, makeCertificate, makeChain, type Wanted } from '#features/certificate/certificate.fixture.js';
import type { CertificateState } from '#features/certificate/certificate.js';
import { destroyUnusedKeys, warnOfExpiries } from '#features/certificate/keep-certificates.js';
import { writeSecretSeen } from '#features/certificate/kubernetes-secret.table.js';
import { readKeyPair } from '#features/certificate/read-key-pair.js';
import { replaceCertificateStatus } from '#features/rollout/certificate-status.table.js';
import { sqlQuery } from '#platform/database/database.js';
import { readSubject } from '#platform/eventstore/read-log.js';
import { createLog } from '#platform/log/log.js';
import { KeyFile, withNewKey, writeKeyFile } from '#platform/vault/key-file.js';

import { Vault } from '#platform/vault/vault.js';

import { startTestApi, type TestAnswer, type TestApi, type TestRequest } from './test-api.js';

const g = '/v1/gateways/default';
const folder = mkdtempSync(join(tmpdir(), 'chancery-keys-'));
const keyFile = join(folder, 'keys.json');
const quiet = createLog({ process: 'test', level: 'silent' });

let test: TestApi;
let names = 0;
beforeAll(async () => {
  writeKeyFile(keyFile, withNewKey(undefined, 'first'));
  test = await startTestApi({ CHANCERY_KEK_FILE: keyFile });
});
afterAll(async () => {
  await test.close();
  rmSync(folder, { recursive: true });
});

const fresh = () => `cert-${++names}`;
const at = (name: string, gateway = 'default') => `/v1/gateways/${gateway}/certificates/${name}`;
const bodyOf = (made: MadeCertificate, ...chain: readonly MadeCertificate[]) => ({
  certificateChain: [made, ...chain].map(({ pem }) => pem).join(''),
  privateKey: made.key,
});
const put = (name: string, made: MadeCertificate, request: TestRequest = {}, query = '') =>
  test.ask('PUT', `${at(name)}${query}`, { body: bodyOf(made), ...request });
const secrets = async () => (await sql<{ count: number }>('SELECT count(*)::int AS count FROM chancery.secret'))[0]?.count;
const sql = <R>(text: string, values: readonly unknown[] = []) => sqlQuery<R>(test.api.database.db, text, values);
const head = async (gateway = 'default'): Promise<number> => (await test.ask('GET', `/v1/gateways/${gateway}`)).json.version;
const told = ({ status, json }: TestAnswer) => [status, json?.code ?? null];
/** The superuser, who can do what nobody else can: nothing of the log refuses him. */
const asAdmin = async () => {
  const admin = new pg.Client({ connectionString: test.database.adminUrl });
  admin.on('error', () => undefined);
  await admin.connect();
  await admin.query('SET session_replication_role = replica');
  return admin;
};
const pushed = async (wanted: Wanted = {}) => {
  const [name, made] = [fresh(), await makeCertificate(wanted)];
  expect((await put(name, made)).status).toBe(201);
  return { name, made };
};

describe('a certificate', () => {
  it('is set, read, exchanged and deleted, and its key never comes out', async () => {
    const name = fresh();
    const { between, leaf } = await makeChain({ dns: ['edge.example.com'] });
    const body = bodyOf(leaf, between);
    const made = await test.ask('PUT', at(name), { body });
    const facts = {
      name,
      sans: { dns: ['edge.example.com'], ip: [] },
      chainLength: 2,
      state: 'valid',
      daysLeft: 89,
      keyAlgorithm: 'EC P-256',
      source: 'api',
      warnings: [],
    };
    expect([made.status, made.json]).toMatchObject([201, { ...facts, unchanged: false, version: 1, gatewayVersion: await head() }]);
    expect(made.headers).toMatchObject({ etag: '"1"', location: at(name) });
    const read = await test.ask('GET', at(name));
    expect([read.status, read.headers.etag, read.json]).toMatchObject([
      200,
      '"1"',
      { name, certificateChain: body.certificateChain, usedBy: [], live: [] },
    ]);
    const { state } = await readSubject(test.api.database.db, 'gateway/default', `certificate/${name}`);
    const pair = await readKeyPair(new Vault(test.api.database.db, new KeyFile(keyFile)), 'default', state as CertificateState);
    expect([pair.certificateChain, pair.privateKey.reveal()]).toEqual([body.certificateChain, leaf.key]);
    const next = await makeCertificate({ dns: ['edge.example.com'] });
    expect((await put(name, next)).json).toMatchObject({ unchanged: false, version: 2, warnings: [{ code: 'self_signed' }] });
    expect((await test.ask('GET', `${g}/certificates`)).json.items).toContainEqual(expect.objectContaining({ name, version: 2 }));
    const gone = await test.ask('DELETE', at(name));
    expect([gone.status, gone.json]).toEqual([200, { name, deleted: true, gatewayVersion: await head() }]);
    expect(told(await test.ask('GET', at(name)))).toEqual([404, 'certificate_not_found']);
    expect(told(await test.ask('DELETE', at(name)))).toEqual([404, 'certificate_not_found']);
  });

  it('that is sent again changes nothing, and keeps no second secret', async () => {
    const { name, made } = await pushed();
    const [version, kept] = [await head(), await secrets()];
    const again = await put(name, made);
    expect([again.status, again.json]).toMatchObject([200, { unchanged: true, version: 1 }]);
    const reformatted = await test.ask('PUT', at(name), {
      body: { certificateChain: made.pem.replaceAll('\n', '\r\n'), privateKey: `\n${made.key}` },
    });
    expect(reformatted.json.unchanged).toBe(true);
    const many = await Promise.all(Array.from({ length: 5 }, () => put(name, made)));
    expect(many.map(({ json }) => json.unchanged)).toEqual(Array(5).fill(true));
    expect([await head(), await secrets()]).toEqual([version, kept]);
  });

  it('that many send at once is set once, and nothing is left over', async () => {
    const [name, made, kept] = [fresh(), await makeCertificate(), (await secrets()) ?? 0];
    const answers = await Promise.all(Array.from({ length: 8 }, () => put(name, made)));
    expect(answers.map(({ status }) => status).sort()).toEqual([...Array(7).fill(200), 201]);
    expect([(await test.ask('GET', at(name))).json.version, await secrets()]).toEqual([1, kept + 1]);
  });

  it('is planned without being kept', async () => {
    const [name, made, kept, version] = [fresh(), await makeCertificate({ until: 5 }), await secrets(), await head()];
    const plan = await put(name, made, {}, '?dryRun=true');
    expect([plan.status, plan.json]).toMatchObject([200, { dryRun: true, warnings: [{ code: 'self_signed' }, { code: 'expires_soon' }] }]);
    expect([await secrets(), await head()]).toEqual([kept, version]);
    expect(told(await put(name, made, { headers: { 'if-match': plan.headers.etag } }))).toEqual([201, null]);
  });

  it('is written on conditions, and once per Idempotency-Key', async () => {
    const { name } = await pushed();
    const [next, kept] = [await makeCertificate(), await secrets()];
    expect(told(await put(name, next, { headers: { 'if-match': '"7"' } }))).toEqual([412, 'version_mismatch']);
    expect(told(await put(name, next, { headers: { 'if-none-match': '*' } }))).toEqual([412, 'version_mismatch']);
    expect(told(await test.ask('DELETE', at(name), { headers: { 'if-match': '"7"' } }))).toEqual([412, 'version_mismatch']);
    expect(await secrets()).toBe(kept);
    const headers = { 'idempotency-key': randomUUID(), 'if-match': '"1"' };
    const first = await put(name, next, { headers });
    const again = await put(name, next, { headers });
    expect([first.json.version, again.json.version, again.headers['idempotency-replayed']]).toEqual([2, 2, 'true']);
    expect(await secrets()).toBe((kept ?? 0) + 1);
    expect(told(await put(name, await makeCertificate(), { headers }))).toEqual([422, 'idempotency_key_reused']);
    expect(await secrets()).toBe((kept ?? 0) + 1);
  });

  it('needs a gateway, a name, and a token with the scope', async () => {
    const [made, kept] = [await makeCertificate(), await secrets()];
    expect(told(await test.ask('PUT', at('x', 'nowhere'), { body: bodyOf(made) }))).toEqual([404, 'gateway_not_found']);
    expect(told(await test.ask('GET', at('x', 'nowhere')))).toEqual([404, 'gateway_not_found']);
    expect(told(await put('%2e%2e%2fx', made))).toEqual([422, 'name_invalid']);
    const others = (await test.makeToken(['read', 'write', 'deploy', 'admin', 'audit'])).token;
    expect((await put('x', made, { token: others })).json).toMatchObject({ status: 403, missingScopes: ['certificates'] });
    const own = (await test.makeToken(['certificates'])).token;
    const name = fresh();
    expect((await put(name, made, { token: own })).status).toBe(201);
    expect((await test.ask('PUT', `${g}/mappings/x`, { token: own, body: { prefix: '/x/', service: 'x' } })).status).toBe(403);
    expect(await secrets()).toBe((kept ?? 0) + 1);
  });

  it('is refused in any other shape, and above 64 KiB', async () => {
    const made = await makeCertificate();
    for (const [body, code, pointer] of [
      [[], 'body_not_object', ''],
      [{}, 'missing_field', '/certificateChain'],
      [{ certificateChain: made.pem }, 'missing_field', '/privateKey'],
      [{ ...bodyOf(made), privateKey: { pem: made.key } }, 'wrong_type', '/privateKey'],
      [{ ...bodyOf(made), key: made.key }, 'unknown_field', '/key'],
      // A value where a name should be is not repeated.
      [{ ...bodyOf(made), [made.key]: '' }, 'unknown_field', ''],
    ] as const) {
      const answer = await test.ask('PUT', at('shape'), { body: body as never });
      expect([answer.status, answer.json.code, answer.json.errors[0].pointer]).toEqual([400, code, pointer]);
    }
    const large = await test.ask('PUT', at('shape'), { body: { ...bodyOf(made), certificateChain: made.pem + ' '.repeat(65_536) } });
    expect(told(large)).toEqual([413, 'body_too_large']);
  });

  it('that is bad in any way is refused with its reason, and nothing of it is kept', async () => {
    const before = [await test.countEvents(), await secrets()];
    const bad = await badPairs();
    for (const { what, chain, key, code, pointer } of bad) {
      const answer = await test.ask('PUT', at('bad'), { body: { certificateChain: chain, privateKey: key } });
      const limit = Buffer.byteLength(JSON.stringify({ certificateChain: chain, privateKey: key })) > 65_536;
      if (limit) expect([what, ...told(answer)]).toEqual([what, 413, 'body_too_large']);
      else expect([what, ...told(answer), answer.json.errors[0].pointer]).toEqual([what, 422, code, pointer]);
    }
    expect([await test.countEvents(), await secrets()]).toEqual(before);
  }, 120_000);

  it('stays while something uses it', async () => {
    const { name } = await pushed();
    // Settings and mappings name certificates by references; here one is planted as the append would.
    const admin = await asAdmin();
    await admin.query('INSERT INTO chancery.reference (stream, subject, target) VALUES ($1, $2, $3)', [
      'gateway/default',
      'gateway',
      `certificate/${name}`,
    ]);
    expect((await test.ask('GET', at(name))).json.usedBy).toEqual(['gateway']);
    expect((await test.ask('DELETE', at(name))).json).toMatchObject({ status: 409, code: 'referenced', by: 'gateway' });
    expect((await test.ask('DELETE', `${at(name)}?dryRun=true`)).json).toMatchObject({ status: 409, code: 'referenced' });
    expect((await put(name, await makeCertificate())).json).toMatchObject({ version: 2 });
    await admin.query('DELETE FROM chancery.reference WHERE target = $1', [`certificate/${name}`]);
    await admin.end();
    expect((await test.ask('DELETE', at(name))).status).toBe(200);
  });

  it('says what it covers and where it is live', async () => {
    const { name, made } = await pushed({ dns: ['shop.example.com', '*.api.example.com'] });
    const route = (mapping: string, host: string, kind: string) =>
      sql(
        `INSERT INTO chancery.route (gateway, mapping, order_key, host, host_kind, match_kind, match_value, methods, headers, precedence, service, rewrite, timeout_ms, labels, mapping_version, gateway_version)
         VALUES ('default', $1, $1, $2, $3, 'prefix', '/', '{}', '{}', 0, 's', '/', 1, '{}', 1, 1)`,
        [mapping, host, kind],
      );
    await route('m1', 'shop.example.com', 'exact');
    await route('m2', 'shop.example.com', 'exact');
    await route('m3', 'a.api.example.com', 'exact');
    await route('m4', 'a.b.api.example.com', 'exact');
    await route('m5', '*.api.example.com', 'suffix');
    await route('m6', '*', 'any');
    await sql(
      "INSERT INTO chancery.certificate_live (gateway, certificate, target, fingerprint) VALUES ('default', $1, 'edge-1', $2), ('default', $1, 'edge-2', 'old')",
      [name, (await test.ask('GET', at(name))).json.fingerprint],
    );
    const { serves, live } = (await test.ask('GET', at(name))).json;
    expect(serves).toEqual({
      hostCount: 3,
      hosts: [
        { host: '*.api.example.com', mappings: ['m5'], mappingCount: 1 },
        { host: 'a.api.example.com', mappings: ['m3'], mappingCount: 1 },
        { host: 'shop.example.com', mappings: ['m1', 'm2'], mappingCount: 2 },
      ],
    });
    expect(live).toMatchObject([
      { target: 'edge-1', current: true },
      { target: 'edge-2', current: false },
    ]);
    await sql(
      "INSERT INTO chancery.target (name, gateway, kind, state) VALUES ('edge-1', 'default', 'agent', 'enrolled'), ('edge-2', 'default', 'agent', 'enrolled'), ('edge-3', 'default', 'agent', 'away'), ('stock', 'default', 'envoy', 'enrolled')",
    );
    expect((await test.ask('GET', at(name))).json.pending).toEqual(['edge-2']);
    await sql('DELETE FROM chancery.target');
    const narrower = await put(name, await makeCertificate({ dns: ['shop.example.com'] }), {}, '?dryRun=true');
    expect(narrower.json.warnings.map(({ code, message }: { code: string; message: string }) => [code, message.split(' ')[4]])).toEqual([
      ['self_signed', 'clients'],
      ['host_uncovered', '*.api.example.com,'],
      ['host_uncovered', 'a.api.example.com,'],
    ]);
    expect(made.pem).not.toBe('');
  });
});

describe('explain', () => {
  it('says how the service is spoken to over TLS, and which certificate a client gets', async () => {
    const gateway = '/v1/gateways/tls-explained';
    await test.ask('POST', '/v1/gateways', { body: { name: 'tls-explained' } });
    const explain = async (url: string) => (await test.ask('POST', `${gateway}/explain`, { body: { method: 'GET', url } })).json;
    const own = await makeCertificate({ dns: ['shop.example.com'] });
    expect((await test.ask('PUT', `${gateway}/certificates/edge`, { body: bodyOf(own) })).status).toBe(201);
    const { root } = await makeChain();
    const tls = { sni: 'api.internal', caBundle: root.pem, certificate: 'edge' };
    for (const [name, body] of Object.entries({
      own: { prefix: '/own/', service: 'https://api.example.com', tls },
      public: { prefix: '/public/', service: 'https://api.example.com' },
      plain: { prefix: '/plain/', service: 'usersvc' },
    }))
      expect((await test.ask('PUT', `${gateway}/mappings/${name}`, { body })).status).toBe(201);
    const answer = await explain('https://shop.example.com/own/');
    expect(answer.matched.tls).toEqual({
      sni: 'api.internal',
      verifiedName: 'api.internal',
      authorities: ['CN=Example Root'],
      certificate: 'edge',
    });
    expect((await explain('/public/')).matched.tls).toEqual({
      sni: 'api.example.com',
      verifiedName: 'api.example.com',
      authorities: null,
      certificate: null,
    });
    expect((await explain('/plain/')).matched.tls).toBeNull();
    expect(answer.certificate).toEqual({ name: 'edge', covers: true });
    expect((await explain('https://other.example.com/own/')).certificate).toEqual({ name: 'edge', covers: false });
    await test.ask('DELETE', `${gateway}/mappings/own`);
    await test.ask('DELETE', `${gateway}/certificates/edge`);
    expect((await explain('https://shop.example.com/public/')).certificate).toBeNull();
  });
});

describe('a certificate that is not served as it is', () => {
  const status = (name: string, fingerprint: string) =>
    replaceCertificateStatus(test.api.database.db, 'default', [
      { certificate: name, fingerprint, code: 'envoy_refused', reason: 'KEY_VALUES_MISMATCH' },
    ]);

  it('says why, in the list and by itself, until another one takes its place', async () => {
    const { name } = await pushed();
    const { fingerprint, problem } = (await test.ask('GET', at(name))).json;
    expect(problem).toBeNull();
    await status(name, fingerprint);
    const said = { code: 'envoy_refused', message: 'KEY_VALUES_MISMATCH', since: expect.any(String) };
    expect((await test.ask('GET', at(name))).json.problem).toEqual(said);
    const { items } = (await test.ask('GET', `${g}/certificates`)).json;
    expect(items.find((one: { name: string }) => one.name === name).problem).toEqual(said);
    await put(name, await makeCertificate());
    expect((await test.ask('GET', at(name))).json.problem).toBeNull();
  });

  it('says which Secret could not be taken, beside the certificate that serves on', async () => {
    const { name } = await pushed();
    await writeSecretSeen(
      test.api.database.db,
      { namespace: 'edge', name: 's', uid: 'u', resourceVersion: '1' },
      { gateway: 'default', certificate: name, problem: 'it has no tls.key' },
    );
    expect((await test.ask('GET', at(name))).json.problem).toMatchObject({
      code: 'kubernetes_secret_refused',
      message: 'Secret edge/s: it has no tls.key',
    });
  });
});

describe('without its key file', () => {
  it('a certificate is refused with the reason, and everything else goes on', async () => {
    const { name, made } = await pushed();
    const content = readFileSync(keyFile);
    try {
      rmSync(keyFile);
      expect(told(await put(fresh(), await makeCertificate()))).toEqual([503, 'key_file_unreadable']);
      expect(told(await put(fresh(), await makeCertificate(), {}, '?dryRun=true'))).toEqual([503, 'key_file_unreadable']);
      expect((await test.ask('GET', at(name))).json.certificateChain).toBe(made.pem);
      expect((await test.ask('PUT', `${g}/mappings/other`, { body: { prefix: '/other/', service: 'other' } })).status).toBe(201);
      writeKeyFile(keyFile, withNewKey(undefined, 'second'));
      expect((await put(fresh(), await makeCertificate())).status).toBe(201);
    } finally {
      writeFileSync(keyFile, content, { mode: 0o600 });
    }
  });

  it('one whose key is lost is mended by pushing it again', async () => {
    const { name, made } = await pushed();
    await sql('DELETE FROM chancery.secret WHERE name = $1', [name]);
    expect(told(await test.ask('GET', at(name)))).toEqual([503, 'secret_missing']);
    expect((await put(name, made)).json).toMatchObject({ unchanged: false, version: 2 });
    expect((await test.ask('GET', at(name))).status).toBe(200);
    expect((await put(name, made)).json.unchanged).toBe(true);
  });
});

describe('documents and sets of changes', () => {
  it('show certificates, keep them, and neither make nor end one', async () => {
    const { name, made } = await pushed();
    const document = (await test.ask('GET', `${g}/config`)).json;
    const shown = document.certificates.find((one: { name: string }) => one.name === name);
    expect(shown).toMatchObject({ name, sans: { dns: ['www.example.com'] } });
    expect(shown).not.toHaveProperty('secret');
    const version = await head();
    const send = (changed: object, query = '') =>
      test.ask('PUT', `${g}/config${query}`, { body: { ...document, ...changed } as never, headers: { 'if-match': '*' } });
    expect((await send({})).json).toMatchObject({ unchanged: true });
    expect((await send({ certificates: [] }, '?prune=true')).json).toMatchObject({ unchanged: true });
    expect((await send({ certificates: [{ ...shown, fingerprint: 'of another time' }] })).json).toMatchObject({ unchanged: true });
    expect((await send({ certificates: [{ name: 'nobody' }] })).json).toMatchObject({
      status: 422,
      code: 'certificate_absent',
      errors: [{ pointer: '/certificates/0' }],
    });
    const leak = await send({ certificates: [{ name, ...bodyOf(made) }] });
    expect(leak.json).toMatchObject({ status: 400, code: 'key_not_here' });
    expect(await head()).toBe(version);
  });

  it('end one that a change names, for a token with the scope', async () => {
    const { name } = await pushed();
    const end = (token = test.token) =>
      test.ask('POST', `${g}/changesets`, { token, body: { changes: [{ op: 'delete', subject: `certificate/${name}` }] } });
    const writer = (await test.makeToken(['read', 'write', 'admin'])).token;
    expect((await end(writer)).json).toMatchObject({ status: 403, missingScopes: ['certificates'] });
    expect((await end()).status).toBe(200);
    const made = await test.ask('POST', `${g}/changesets`, {
      body: { changes: [{ op: 'put', subject: `certificate/${name}`, value: {} }] },
    });
    expect(told(made)).toEqual([422, 'certificate_absent']);
  });
});

describe('going back', () => {
  const gateway = 'back';
  const on = (name: string) => at(name, gateway);
  const send = async (name: string, wanted: Wanted = {}) => {
    const made = await makeCertificate(wanted);
    expect((await test.ask('PUT', on(name), { body: bodyOf(made) })).status).toBeLessThan(300);
    return made;
  };
  const back = (body: object, token = test.token) =>
    test.ask('POST', `/v1/gateways/${gateway}/rollbacks`, {
      token,
      body: { reason: 'because', ...body } as never,
      headers: { 'if-match': '*' },
    });
  const chain = async (name: string) => (await test.ask('GET', on(name))).json.certificateChain;
  beforeAll(async () => {
    await test.ask('POST', '/v1/gateways', { body: { name: gateway } });
  });

  it('leaves certificates as they are, unless it is told otherwise', async () => {
    const first = await send('kept');
    await test.ask('PUT', `/v1/gateways/${gateway}/mappings/m`, { body: { prefix: '/m/', service: 'm' } });
    const toVersion = await head(gateway);
    const second = await send('kept');
    await send('later');
    await test.ask('DELETE', `/v1/gateways/${gateway}/mappings/m`);
    const plain = await back({ toVersion });
    expect([plain.status, plain.json.equal, plain.json.changes.map(({ subject }: { subject: string }) => subject)]).toEqual([
      201,
      true,
      ['mapping/m'],
    ]);
    expect(await chain('kept')).toBe(second.pem);
    const writer = (await test.makeToken(['read', 'write', 'admin'])).token;
    expect((await back({ toVersion, includeCertificates: true }, writer)).json).toMatchObject({
      status: 403,
      missingScopes: ['certificates'],
    });
    const whole = await back({ toVersion, includeCertificates: true });
    expect(whole.json).toMatchObject({ equal: true, exceptions: [] });
    expect([await chain('kept'), told(await test.ask('GET', on('later')))]).toEqual([first.pem, [404, 'certificate_not_found']]);
    const record = await test.ask('GET', `/v1/gateways/${gateway}/versions/${whole.json.version}`);
    expect(record.json.details).toMatchObject({ toVersion, includeCertificates: true, exceptions: [] });
    expect((await back({ toVersion, includeCertificates: true })).json).toMatchObject({ unchanged: true });
  });

  it('never goes to one that was removed, has expired, or lost its key; it says so and does the rest', async () => {
    const good = await send('good');
    await send('removed');
    await send('expired');
    await send('lost');
    const toVersion = await head(gateway);
    await test.ask('DELETE', on('removed'));
    for (const name of ['good', 'expired', 'lost']) await send(name);
    await sql("DELETE FROM chancery.secret WHERE gateway = $1 AND name = 'lost' AND version = 1", [gateway]);
    const admin = await asAdmin();
    await admin.query(
      `UPDATE chancery.subject_history SET state = jsonb_set(state, '{notAfter}', '"2020-01-01T00:00:00.000Z"') WHERE subject = 'certificate/expired'`,
    );
    await admin.end();
    const answer = await back({ toVersion, includeCertificates: true });
    const codes = answer.json.exceptions.map(({ subject, code }: { subject: string; code: string }) => [subject, code]);
    expect(codes).toEqual([
      ['certificate/expired', 'certificate_expired'],
      ['certificate/lost', 'key_destroyed'],
      ['certificate/removed', 'certificate_removed'],
    ]);
    expect([answer.status, answer.json.equal, await chain('good')]).toEqual([201, true, good.pem]);
  });

  it('undoes an exchange, and refuses to undo a removal', async () => {
    const first = await send('undone');
    await send('undone');
    const revert = async () =>
      test.ask('POST', `/v1/gateways/${gateway}/reverts`, { body: { version: await head(gateway), reason: 'because' } });
    expect((await revert()).status).toBe(201);
    expect(await chain('undone')).toBe(first.pem);
    await test.ask('DELETE', on('undone'));
    const refused = await revert();
    expect(refused.json).toMatchObject({ status: 409, code: 'revert_conflict', conflicts: [{ subject: 'certificate/undone' }] });
  });
});

describe('a certificate that ends', () => {
  it('is warned about once for each threshold, in the list, in the metrics and in the log', async () => {
    const { name } = await pushed({ until: 20 });
    const world = { db: test.api.database.db, events: test.api.events, log: quiet };
    const day = 86_400_000;
    const warn = (inDays: number) => warnOfExpiries(world, new Date(Date.now() + inDays * day));
    const warned = async () =>
      (
        await sql<{ days: number }>(
          "SELECT (state->>'days')::int AS days FROM chancery.event WHERE stream = 'certificates/default' AND subject = $1 ORDER BY version",
          [`expiry/${name}`],
        )
      ).map(({ days }) => days);
    await Promise.all([warn(0), warn(0), warn(0)]);
    expect(await warned()).toEqual([30]);
    await warn(1);
    await warn(7);
    await warn(7);
    await warn(15);
    await warn(19.5);
    await warn(21);
    await warn(22);
    expect(await warned()).toEqual([30, 14, 7, 1, 0]);
    const { json } = await test.ask('GET', at(name));
    expect([json.state, json.daysLeft]).toEqual(['expiring', 19]);
    const metrics = (await test.ask('GET', '/metrics')).text;
    expect(metrics).toContain(
      `chancery_certificate_expiry_timestamp_seconds{gateway="default",certificate="${name}"} ${Date.parse(json.expiresAt) / 1000}`,
    );
    expect((await put(name, await makeCertificate({ until: 10 }))).status).toBe(200);
    await warn(0);
    expect(await warned()).toEqual([30, 14, 7, 1, 0, 14]);
  });

  it('keeps its key for as long as somebody may go back to it', async () => {
    const at0 = { orphanMs: 0, supersededMs: 0 };
    const sweep = () => destroyUnusedKeys({ db: test.api.database.db, log: quiet }, at0);
    await sweep();
    const versions = async (name: string) =>
      (await sql<{ version: number }>('SELECT version FROM chancery.secret WHERE name = $1 ORDER BY version', [name])).map(
        ({ version }) => version,
      );
    const { name } = await pushed({ until: 50 });
    await put(name, await makeCertificate({ until: 60 }));
    await put(name, await makeCertificate({ until: 70 }));
    await sql(
      `INSERT INTO chancery.secret SELECT gen_random_uuid(), gateway, name, 99, kek_id, wrapped_key, iv, tag, ciphertext, open_part FROM chancery.secret WHERE name = $1 AND version = 1`,
      [name],
    );
    await sql(
      `INSERT INTO chancery.secret SELECT gen_random_uuid(), gateway, 'tickets/session', 1, kek_id, wrapped_key, iv, tag, ciphertext, open_part FROM chancery.secret WHERE name = $1 AND version = 1`,
      [name],
    );
    expect([await sweep(), await versions(name), await versions('tickets/session')]).toEqual([1, [1, 2, 3], [1]]);
    const admin = await asAdmin();
    await admin.query(
      `UPDATE chancery.subject_history SET state = jsonb_set(state, '{notAfter}', '"2020-01-01T00:00:00.000Z"') WHERE subject = $1 AND version = 1`,
      [`certificate/${name}`],
    );
    const young = { orphanMs: 0, supersededMs: 3_600_000 };
    expect(await destroyUnusedKeys({ db: test.api.database.db, log: quiet }, young)).toBe(0);
    const [{ from_version: first } = { from_version: 0 }] = await sql<{ from_version: number }>(
      'SELECT lower(valid) AS from_version FROM chancery.subject_history WHERE subject = $1 AND version = 1',
      [`certificate/${name}`],
    );
    await admin.query(
      "INSERT INTO chancery.desired (gateway, because, policy, record, followed, head) VALUES ('default', 'immediate', 'immediate', 'r', 1, 1) ON CONFLICT DO NOTHING",
    );
    await admin.query("INSERT INTO chancery.desired_override VALUES ('default', 'pinned-1', $1, 'pinned', 'r')", [first]);
    expect([await sweep(), await versions(name)]).toEqual([0, [1, 2, 3]]);
    await admin.query("DELETE FROM chancery.desired_override WHERE target = 'pinned-1'");
    await admin.end();
    expect([await sweep(), await versions(name)]).toEqual([1, [2, 3]]);
    await test.ask('DELETE', at(name));
    expect([await sweep(), await versions(name)]).toEqual([2, []]);
  });
});

describe('a key', () => {
  it('is in no table, no answer and no line of the log', async () => {
    const { name, made } = await pushed();
    await put(name, await makeCertificate(), {}, '?dryRun=true');
    await test.ask('PUT', at(name), { body: { certificateChain: made.key, privateKey: made.key } });
    await test.ask('PUT', at(name), { body: { ...bodyOf(made), [made.key.slice(40, 90)]: made.key } });
    await test.ask('PUT', `${g}/config`, { body: { certificates: [{ name, privateKey: made.key }] }, headers: { 'if-match': '*' } });
    await test.ask('POST', `${g}/changesets`, {
      body: { changes: [{ op: 'put', subject: `certificate/${name}`, value: { privateKey: made.key } }] },
    });
    const body = made.key.replaceAll(/-----[A-Z ]+-----|\s/g, '');
    // From behind what every key of this kind begins with.
    const marks = [body.slice(50, 74), body.slice(80, 104)];
    const raw = Buffer.from(body, 'base64').subarray(40, 60);
    const places = new Map<string, string>([['log', test.logged()]]);
    for (const path of [
      at(name),
      `${g}/certificates`,
      `${g}/config`,
      `${g}/versions`,
      `${g}/versions/${await head()}`,
      '/v1/audit',
      '/metrics',
      '/v1/openapi.json',
      `${g}/versions/${await head()}/diff?against=1`,
    ])
      places.set(path, (await test.ask('GET', path)).text);
    const admin = await asAdmin();
    const tables = await admin.query<{ name: string }>(
      "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname IN ('chancery', 'bullmq')",
    );
    for (const table of tables.rows)
      places.set(table.name, JSON.stringify((await admin.query(`SELECT t::text AS row FROM ${table.name} t`)).rows));
    await admin.end();
    expect(places.size).toBeGreaterThan(30);
    const forms = [...marks, raw.toString('hex'), raw.toString('base64').slice(2, 24), Buffer.from(marks[0] ?? '').toString('hex')];
    for (const [place, text] of places) expect([place, forms.filter((form) => text.includes(form))]).toEqual([place, []]);
    expect(places.get('chancery.secret')).toContain(name);
  });
});
