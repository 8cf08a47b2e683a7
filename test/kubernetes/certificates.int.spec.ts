import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, describe, expect, jest, test } from '@jest/globals';

import { makeCertificate } from '#features/certificate/certificate.fixture.js';
import { rotateKeyPair } from '#features/certificate/rotate-key-pair.js';
import { KeyFile } from '#platform/vault/key-file.js';
import { Secret } from '#platform/vault/secret.js';
import { Vault } from '#platform/vault/vault.js';

import { WorkerFixture } from '../../apps/worker/src/worker.fixture.js';
import { eventually } from '../support/eventually.js';
import { apisUnderTest, ClusterObjects } from './api-under-test.js';

jest.setTimeout(120_000);

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const NAMESPACE = 'ambassador-certs';
const secrets = `/api/v1/namespaces/${NAMESPACE}/secrets`;
const encode = (text: string) => Buffer.from(text).toString('base64');

describe.each(apisUnderTest('certificates as Secrets'))('Secrets of %s', (_name, start) => {
  async function open() {
    const api = await start();
    cleanups.push(() => api.dispose());
    const objects = new ClusterObjects(api.access);
    cleanups.push(() => objects.close());
    await objects.namespace(NAMESPACE);
    const folder = mkdtempSync(join(tmpdir(), 'chancery-keys-'));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'keys.json');
    writeFileSync(path, JSON.stringify({ writes: 'a', keys: { a: randomBytes(32).toString('base64') } }), { mode: 0o600 });
    const fixture = await WorkerFixture.open();
    cleanups.push(() => fixture.close());
    const keyFile = new KeyFile(path);
    const scope = { access: api.access, watch: NAMESPACE, publish: undefined, keyFile, tuning: { leastBackoffMs: 10, mostBackoffMs: 100 } };
    const versions = () =>
      fixture.query<{ action: string; actor: string; reason: string; state: { fingerprint: string; source: string } | null }>(
        `select v.action, v.actor, v.reason, e.state from chancery.version v join chancery.event e using (stream, version)
          where stream = 'gateway/default' and e.subject like 'certificate/%' order by version`,
      );
    return { api, objects, fixture, scope, versions, vault: new Vault(fixture.database.db, keyFile) };
  }

  const tls = async (dns: string) => {
    const { pem, key } = await makeCertificate({ dns: [dns] });
    return { type: 'kubernetes.io/tls', data: { 'tls.crt': encode(pem), 'tls.key': encode(key) } };
  };
  const labelled = (name: string) => ({ name, labels: { 'chancery.io/gateway': 'default' } });

  test('a labelled one is recorded when it is made and changed, once by any number of workers; what is none is said, and the rest goes on', async () => {
    const { objects, fixture, scope, versions } = await open();
    await fixture.startWorker('w1', { secrets: scope });
    await fixture.startWorker('w2', { secrets: scope });
    await objects.call('POST', secrets, { metadata: { name: 'unlabelled' }, ...(await tls('no.example')) });
    await objects.call('POST', secrets, { metadata: labelled('opaque'), type: 'Opaque', data: {} });
    const [one, other] = [await tls('a.example'), await tls('b.example')];
    const mixed = { ...one, data: { 'tls.crt': one.data['tls.crt'], 'tls.key': other.data['tls.key'] } };
    await objects.call('POST', secrets, { metadata: labelled('mixed'), ...mixed });
    await objects.call('POST', secrets, { metadata: labelled('edge'), ...one });
    await eventually('it is recorded', async () => (await versions()).length === 1);
    await objects.call('PATCH', `${secrets}/edge`, { data: other.data });
    await eventually('so is its exchange', async () => (await versions()).length === 2);
    expect(await versions()).toEqual([
      {
        action: 'PutCertificate',
        actor: 'kubernetes',
        reason: expect.stringContaining(`${NAMESPACE}/edge`),
        state: expect.objectContaining({ source: 'kubernetes' }),
      },
      {
        action: 'PutCertificate',
        actor: 'kubernetes',
        reason: expect.stringContaining(`${NAMESPACE}/edge`),
        state: expect.objectContaining({ source: 'kubernetes' }),
      },
    ]);
    const problems = () => fixture.query<{ name: string }>("select name from chancery.kubernetes_secret where problem <> '' order by name");
    await eventually('what is none is said', async () => (await problems()).length === 2);
    expect((await problems()).map(({ name }) => name)).toEqual(['mixed', 'opaque']);
    await objects.call('DELETE', `${secrets}/edge`);
    await eventually(
      'its end is noticed',
      async () => (await fixture.query("select from chancery.kubernetes_secret where name = 'edge'")).length === 0,
    );
    expect(await versions()).toHaveLength(2);
  });

  test('one that has not changed does not undo what was set through the API since, after a restart either', async () => {
    const { objects, fixture, scope, versions, vault } = await open();
    const first = await fixture.startWorker('w1', { secrets: scope });
    await objects.call('POST', secrets, { metadata: labelled('edge'), ...(await tls('a.example')) });
    await eventually('it is recorded', async () => (await versions()).length === 1);
    await eventually('and remembered', async () => (await fixture.query('select from chancery.kubernetes_secret')).length === 1);
    const { pem, key } = await makeCertificate({ dns: ['api.example'] });
    const stores = { events: fixture.events, vault, db: fixture.database.db };
    const input = { certificateChain: pem, privateKey: new Secret(key), source: 'api' as const };
    const request = { context: { commandId: '00000000-0000-4000-8000-000000000001', actor: 'token/spec' }, dryRun: false };
    await rotateKeyPair(stores, { gateway: 'default', name: 'edge' }, input, request);
    await fixture.stopWorker(first);
    await fixture.startWorker('w2', { secrets: scope });
    await objects.call('POST', secrets, { metadata: labelled('later'), ...(await tls('c.example')) });
    await eventually('what is new is recorded', async () => (await versions()).length === 3);
    expect((await versions()).map(({ actor }) => actor)).toEqual(['kubernetes', 'token/spec', 'kubernetes']);
    expect((await versions()).at(-1)?.reason).toContain('later');
  });

  test('certificates of the API are kept as Secrets where that is wanted, follow them, and are not read back', async () => {
    const { objects, fixture, scope, versions, vault } = await open();
    await fixture.startWorker('w1', { secrets: { ...scope, publish: NAMESPACE } });
    const stores = { events: fixture.events, vault, db: fixture.database.db };
    const set = async (name: string, id: number) => {
      const { pem, key } = await makeCertificate({ dns: ['api.example'] });
      const input = { certificateChain: pem, privateKey: new Secret(key), source: 'api' as const };
      const request = { context: { commandId: `00000000-0000-4000-8000-00000000000${id}`, actor: 'token/spec' }, dryRun: false };
      await rotateKeyPair(stores, { gateway: 'default', name }, input, request);
      return encode(pem);
    };
    const copyOf = (name: string) =>
      objects.call<{ type: string; data: Record<string, string> }>('GET', `${secrets}/default.${name}`).catch(() => undefined);
    await set('edge', 1);
    await eventually('it is there', async () => (await copyOf('edge')) !== undefined);
    const second = await set('edge', 2);
    await eventually('it is the newest', async () => (await copyOf('edge'))?.data['tls.crt'] === second);
    expect((await copyOf('edge'))?.type).toBe('kubernetes.io/tls');
    await fixture.append('certificate/edge', 'CertRemoved', null);
    await eventually('it goes with its certificate', async () => (await copyOf('edge')) === undefined);
    expect((await versions()).map(({ actor }) => actor)).toEqual(['token/spec', 'token/spec', 'token/spec']);
  });
});
