import { renameSync, rmSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';

import { afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';

import { mostWatchedCertificates } from '#features/rollout/placed-secrets.js';
import { propagationOf } from '#features/rollout/propagation.js';
import { readRolloutSight } from '#features/rollout/propagation.table.js';
import { readTarget } from '#features/rollout/target.table.js';
import { createAuthority, type TestAuthority, type TestCertificate } from '#platform/envoy/certificates.fixture.js';
import { KeyFile } from '#platform/vault/key-file.js';
import { EXTENSION_TYPE, LISTENER_TYPE, SCOPED_ROUTE_TYPE, SECRET_TYPE } from '#platform/xds/xds-resource.js';
import { eventually, WorkerFixture } from '../worker.fixture.js';
import { makeKeyFile, putCertificate } from './certificate.fixture.js';

jest.setTimeout(60_000);

const https = { address: '127.0.0.1', port: 10_443 };
const tuning = { sweepMs: 200, ticketLookMs: 200 };

let authority: TestAuthority;
let fixture: WorkerFixture;
let folder: string;
let keyPath: string;

beforeAll(async () => {
  authority = await createAuthority();
});
beforeEach(() => {
  ({ folder, path: keyPath } = makeKeyFile());
});
afterEach(async () => {
  await fixture.close();
  rmSync(folder, { recursive: true, force: true });
});

const keys = () => new KeyFile(keyPath);
const version = async (target = 'edge-1') => (await readTarget(fixture.database.db, 'default', target))?.provenVersion;
const proven = (wanted: number, target?: string) => async () => (await version(target)) === wanted;
const propagation = async (of: number) => propagationOf(await readRolloutSight(fixture.database.db, 'default'), of);

const put = (name: string, dns: readonly string[], made?: TestCertificate) =>
  putCertificate({ fixture, authority, keyPath }, { name, dns, made });

/** A certificate is live; then its worker is followed by one without the key, which brings a mapping. */
async function changeWithoutKey() {
  const first = await fixture.startWorker('w1', { keys: keys(), tuning });
  const agent = fixture.agent({ https });
  await agent.connect(first.port);
  const { certificate, version: rotated } = await put('edge', ['a.example.com']);
  await eventually('the certificate is live', proven(rotated));
  agent.close();
  await fixture.stopWorker(first);

  renameSync(keyPath, `${keyPath}.away`);
  const second = await fixture.startWorker('w2', { keys: keys(), tuning });
  await agent.connect(second.port);
  const mapped = await fixture.putMapping('user');
  await eventually('the mapping is live', proven(mapped));
  return { agent, certificate, second, mapped };
}

describe('certificates that are delivered live', () => {
  test('the first makes the listener, a rotation changes the secret alone, and each is to be proven by name', async () => {
    fixture = await WorkerFixture.open({ delivery: 'live' });
    const worker = await fixture.startWorker('w1', { keys: keys(), tuning });
    const agent = fixture.agent({ https });
    await agent.connect(worker.port);
    await eventually('live', proven(1));
    expect(agent.live.set.ofType(LISTENER_TYPE).size).toBe(1);
    const first = await put('edge', ['a.example.com', '*.example.com']);
    await eventually('the certificate is live', proven(first.version));
    expect(agent.live.set.get({ typeUrl: LISTENER_TYPE, name: 'https' })).toBeDefined();
    expect(agent.live.holds(SECRET_TYPE, first.certificate.key.split('\n')[1] ?? '?')).toBe(true);
    expect(agent.live.set.get({ typeUrl: SECRET_TYPE, name: 'session-tickets' })).toBeDefined();

    const second = await put('edge', ['a.example.com', '*.example.com']);
    await eventually('the rotation is live', proven(second.version));
    const last = agent.live.releases.at(-1);
    expect(last?.changed.map(({ name }) => name)).toEqual(['certificate-edge']);
    const body = second.certificate.fingerprint;
    expect(last?.probes).toEqual([
      { path: '/certificate-edge', body: '' },
      { path: 'tls://127.0.0.1:10443/a.example.com/certificate-edge', body },
      { path: 'tls://127.0.0.1:10443/chancery-probe.example.com/certificate-edge', body },
      { path: 'tls://127.0.0.1:10443//certificate-edge', body },
    ]);
    await eventually('it is noted where it is live', async () => {
      const rows = await fixture.query('select certificate, target, fingerprint from chancery.certificate_live');
      return isDeepStrictEqual(rows, [{ certificate: 'edge', target: 'edge-1', fingerprint: body }]);
    });
    const gone = await fixture.append('certificate/edge', 'CertRemoved', null);
    await eventually('it is gone', proven(gone));
    expect([agent.live.set.ofType(LISTENER_TYPE).size, agent.live.set.ofType(SECRET_TYPE).size]).toEqual([1, 0]);
  });

  test('F35: without the key nodes keep what they have, everything else goes on, and the reason is said', async () => {
    fixture = await WorkerFixture.open({ delivery: 'live' });
    const { agent, certificate, second, mapped } = await changeWithoutKey();
    expect(agent.live.holds(SECRET_TYPE, certificate.key.split('\n')[1] ?? '?')).toBe(true);
    expect(agent.live.set.get({ typeUrl: LISTENER_TYPE, name: 'https' })).toBeDefined();
    const status = await fixture.query<{ code: string }>('select certificate, code from chancery.certificate_status');
    expect(status).toEqual([{ certificate: 'edge', code: 'key_file_unreadable' }]);
    expect(await propagation(mapped)).toMatchObject({
      state: 'live',
      targets: [{ certificates: [{ name: 'edge', code: 'key_file_unreadable' }] }],
    });

    // A node that never had it is given everything else.
    const fresh = fixture.agent({ target: 'edge-2', https });
    await fresh.connect(second.port);
    await eventually('the other node is live', proven(mapped, 'edge-2'));
    expect(fresh.live.holds(SCOPED_ROUTE_TYPE, '/user/')).toBe(true);
    expect(fresh.live.set.get({ typeUrl: LISTENER_TYPE, name: 'https' })).toBeUndefined();

    renameSync(`${keyPath}.away`, keyPath);
    await eventually('the key is back', () => fresh.live.set.get({ typeUrl: LISTENER_TYPE, name: 'https' }) !== undefined);
    const tickets = () => fresh.live.set.get({ typeUrl: SECRET_TYPE, name: 'session-tickets' });
    await eventually('the keys of tickets too', () => (tickets()?.value.length ?? 0) > 0);
    await eventually('and the reason is gone', async () => (await fixture.query('select 1 from chancery.certificate_status')).length === 0);
  });

  test('F35: a rotation that cannot be opened leaves the one before, and its version is refused', async () => {
    fixture = await WorkerFixture.open({ delivery: 'live' });
    const worker = await fixture.startWorker('w1', { keys: keys(), tuning });
    const agent = fixture.agent({ https });
    await agent.connect(worker.port);
    const first = await put('edge', ['a.example.com']);
    await eventually('the first is live', proven(first.version));
    const broken = {
      name: 'edge',
      fingerprint: 'f'.repeat(64),
      sans: { dns: ['a.example.com'], ip: [] },
      secret: { id: crypto.randomUUID(), version: 9 },
    };
    const missing = await fixture.append('certificate/edge', 'CertRotated', broken);
    await eventually('the version is passed over', proven(missing));
    await eventually('and refused', async () => (await propagation(missing)).state === 'refused');
    expect((await propagation(missing)).targets[0]?.reason).toMatchObject({ code: 'secret_missing' });
    expect(agent.live.holds(SECRET_TYPE, first.certificate.key.split('\n')[1] ?? '?')).toBe(true);
  });

  test('F21: what Envoy refuses is taken back, and said; the next one is taken', async () => {
    fixture = await WorkerFixture.open({ delivery: 'live' });
    const worker = await fixture.startWorker('w1', { keys: keys(), tuning });
    let bad = '';
    const agent = fixture.agent({
      https,
      refusesLive: (release) =>
        bad !== '' && release.changed.some(({ name, value }) => name === 'certificate-edge' && value.includes(bad))
          ? { resources: [{ typeUrl: SECRET_TYPE, name: 'certificate-edge' }], detail: 'KEY_VALUES_MISMATCH' }
          : undefined,
    });
    await agent.connect(worker.port);
    const first = await put('edge', ['a.example.com']);
    await eventually('the first is live', proven(first.version));
    const next = await authority.issue(['a.example.com']);
    bad = next.key.split('\n')[1] ?? '';
    const refused = await put('edge', ['a.example.com'], next);
    await eventually('the one before is back', () => agent.live.holds(SECRET_TYPE, first.certificate.key.split('\n')[1] ?? '?'));
    await eventually('and that is said', async () => (await propagation(refused.version)).state === 'refused');
    expect((await propagation(refused.version)).targets[0]?.reason).toEqual({
      code: 'envoy_refused',
      message: 'certificate edge: KEY_VALUES_MISMATCH',
    });
    const good = await put('edge', ['a.example.com']);
    await eventually('the next is live', proven(good.version));
    expect((await propagation(good.version)).state).toBe('live');
  });

  test('principals and authorities are what clients are judged by', async () => {
    const clientCertificates = { hosts: ['*'], caBundle: null, principals: true, forward: false };
    fixture = await WorkerFixture.open({ delivery: 'live', tls: { clientCertificates } });
    const worker = await fixture.startWorker('w1', { keys: keys(), tuning });
    const agent = fixture.agent({ https });
    await agent.connect(worker.port);
    await eventually('live', proven((await put('edge', ['a.example.com'])).version));
    expect(agent.live.text(SECRET_TYPE, 'client-trust')).toContain('0'.repeat(64));
    const principal = await fixture.append('principal/billing', 'PrincipalCreated', {
      name: 'billing',
      fingerprint: `AB:${'cd'.repeat(31)}`,
    });
    await eventually('the principal is let in', proven(principal));
    expect(agent.live.text(SECRET_TYPE, 'client-trust')).toContain(`ab${'cd'.repeat(31)}`);
    expect(agent.live.releases.at(-1)?.changed.map(({ name }) => name)).toEqual(['chancery-shard-filter', 'client-trust']);
    expect(agent.live.text(EXTENSION_TYPE, 'chancery-shard-filter')).toContain(`["ab${'cd'.repeat(31)}"]=true`);
  });
});

describe('certificates that are delivered by hot restarts', () => {
  test('a rotation is a file and no restart', async () => {
    fixture = await WorkerFixture.open();
    const worker = await fixture.startWorker('w1', { keys: keys(), tuning });
    const agent = fixture.agent({ https });
    await agent.connect(worker.port);
    const first = await put('edge', ['a.example.com']);
    await eventually('the first is live', proven(first.version));
    const restarts = agent.restarts.length;
    const second = await put('edge', ['a.example.com']);
    await eventually('the second is live', proven(second.version));
    expect(agent.restarts.length).toBe(restarts);
    expect(agent.files.get('certificate-edge')?.json.toString()).toContain(second.certificate.key.split('\n')[1]);
    expect(agent.releases.at(-1)?.probes).toContainEqual({
      path: 'tls://127.0.0.1:10443/a.example.com/certificate-edge',
      body: second.certificate.fingerprint,
    });
    expect(agent.bootstrap).not.toContain('PRIVATE KEY');
  });

  test('F35: without the key the files stay on the node, and a change of routes restarts Envoy with them', async () => {
    fixture = await WorkerFixture.open();
    const { agent, certificate, second, mapped } = await changeWithoutKey();
    expect(agent.bootstrap).toContain('certificate-edge');
    expect(agent.files.get('certificate-edge')?.json.toString()).toContain(certificate.key.split('\n')[1]);
    const fresh = fixture.agent({ target: 'edge-2', https });
    await fresh.connect(second.port);
    await eventually('the other node is live', proven(mapped, 'edge-2'));
    expect(fresh.bootstrap).not.toContain('certificate-edge');
  });
});

describe('more certificates than an Envoy watches files', () => {
  const names = Array.from({ length: mostWatchedCertificates + 1 }, (_, i) => `c${i + 10}`);
  const last = names.at(-1) ?? '';
  const standing = new RegExp(`endpoints/(certificate-${last}-[0-9a-f]{16})\\.json`);
  const fileOf = (bootstrap: string) => standing.exec(bootstrap)?.[1] ?? '';

  test('are served, rotated by a restart, taken back when Envoy refuses one, and kept without the key', async () => {
    fixture = await WorkerFixture.open();
    const worker = await fixture.startWorker('w1', { keys: keys(), tuning });
    let refused = '';
    const agent = fixture.agent({
      https,
      refuses: (bootstrap) => {
        const file = fileOf(bootstrap);
        const pem = agent.files.get(file)?.json.toString() ?? '';
        return refused !== '' && pem.includes(refused) ? `Failed to load private key from endpoints/${file}.json, Cause: WRONG` : undefined;
      },
    });
    const made = new Map<string, Awaited<ReturnType<typeof put>>>();
    for (const name of names) made.set(name, await put(name, [`${name}.example.com`]));
    await agent.connect(worker.port);
    await eventually('all are live', proven(made.get(last)?.version ?? 0));
    expect(agent.files.get(fileOf(agent.bootstrap))?.json.toString()).toContain(made.get(last)?.certificate.key.trim());
    expect(agent.bootstrap).not.toContain('PRIVATE KEY');
    expect(agent.releases.at(-1)?.probes.length).toBe(names.length + 1);
    const rows = await fixture.query<{ certificate: string }>('select certificate from chancery.certificate_live order by 1');
    expect(rows.map(({ certificate }) => certificate)).toEqual(names);

    const restarts = agent.restarts.length;
    const second = await put(last, [`${last}.example.com`]);
    await eventually('the rotation is live', proven(second.version));
    expect(agent.restarts.length).toBe(restarts + 1);
    const served = () => agent.files.get(fileOf(agent.bootstrap))?.json.toString() ?? '';
    expect(served()).toContain(second.certificate.key.trim());

    const bad = await authority.issue([`${last}.example.com`]);
    refused = bad.key.split('\n')[1] ?? '';
    const third = await put(last, [`${last}.example.com`], bad);
    await eventually('the one before stays', proven(third.version));
    expect(agent.restarts.length).toBe(restarts + 1);
    await eventually('and that is said', async () => (await propagation(third.version)).state === 'refused');
    const said = await fixture.query('select certificate, code from chancery.certificate_status');
    expect(said).toEqual([{ certificate: last, code: 'envoy_refused' }]);

    refused = '';
    const fourth = await put(last, [`${last}.example.com`]);
    await eventually('the next is taken', proven(fourth.version));
    agent.close();
    await fixture.stopWorker(worker);
    renameSync(keyPath, `${keyPath}.away`);
    const next = await fixture.startWorker('w2', { keys: keys(), tuning });
    await agent.connect(next.port);
    const mapped = await fixture.putMapping('user');
    await eventually('the mapping is live', proven(mapped));
    expect(served()).toContain(fourth.certificate.key.trim());
  });
});
