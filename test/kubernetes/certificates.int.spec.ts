import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, describe, expect, jest, test } from '@jest/globals';

import { makeCertificate } from '#features/certificate/certificate.fixture.js';
import { rotateKeyPair } from '#features/certificate/rotate-key-pair.js';
import { ApiFault } from '#platform/kubernetes/api-connection.js';
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
    const keyFileOf = (id: string) => {
      const path = join(folder, `${id}.json`);
      writeFileSync(path, JSON.stringify({ writes: id, keys: { [id]: randomBytes(32).toString('base64') } }), { mode: 0o600 });
      return new KeyFile(path);
    };
    const fixture = await WorkerFixture.open();
    cleanups.push(() => fixture.close());
    const keyFile = keyFileOf('a');
    const scope = { access: api.access, watch: NAMESPACE, publish: undefined, keyFile, tuning: { leastBackoffMs: 10, mostBackoffMs: 100 } };
    const versions = () =>
      fixture.query<{ action: string; actor: string; reason: string; state: { fingerprint: string; source: string } | null }>(
        `select v.action, v.actor, v.reason, e.state from chancery.version v join chancery.event e using (stream, version)
          where stream = 'gateway/default' and e.subject like 'certificate/%' order by version`,
      );
    const { db } = fixture.database;
    /** Sets a certificate as the API does; with the keys of a file that no worker has, nobody can open it. */
    const set = async (gateway: string, name: string, number: number, keys = keyFile) => {
      const { pem, key } = await makeCertificate({ dns: ['api.example'] });
      const input = { certificateChain: pem, privateKey: new Secret(key), source: 'api' as const };
      const commandId = `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`;
      const request = { context: { commandId, actor: 'token/spec' }, dryRun: false };
      await rotateKeyPair({ events: fixture.events, vault: new Vault(db, keys), db }, { gateway, name }, input, request);
      return encode(pem);
    };
    const copyOf = (name: string) =>
      objects
        .call<{ metadata: { uid: string }; type: string; data: Record<string, string> }>('GET', `${secrets}/${name}`)
        .catch((error: unknown) => {
          if (error instanceof ApiFault && error.status === 404) return undefined;
          throw error;
        });
    return { api, objects, fixture, scope, versions, set, copyOf, strange: () => keyFileOf('b') };
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
    const { objects, fixture, scope, versions, set } = await open();
    const first = await fixture.startWorker('w1', { secrets: scope });
    await objects.call('POST', secrets, { metadata: labelled('edge'), ...(await tls('a.example')) });
    await eventually('it is recorded', async () => (await versions()).length === 1);
    await eventually('and remembered', async () => (await fixture.query('select from chancery.kubernetes_secret')).length === 1);
    await set('default', 'edge', 1);
    await fixture.stopWorker(first);
    await fixture.startWorker('w2', { secrets: scope });
    await objects.call('POST', secrets, { metadata: labelled('later'), ...(await tls('c.example')) });
    await eventually('what is new is recorded', async () => (await versions()).length === 3);
    expect((await versions()).map(({ actor }) => actor)).toEqual(['kubernetes', 'token/spec', 'kubernetes']);
    expect((await versions()).at(-1)?.reason).toContain('later');
  });

  test('certificates of the API are kept as Secrets where that is wanted, follow them, and are not read back', async () => {
    const { fixture, scope, versions, set, copyOf } = await open();
    await fixture.startWorker('w1', { secrets: { ...scope, publish: NAMESPACE } });
    await set('default', 'edge', 1);
    await eventually('it is there', async () => (await copyOf('default.edge')) !== undefined);
    const second = await set('default', 'edge', 2);
    await eventually('it is the newest', async () => (await copyOf('default.edge'))?.data['tls.crt'] === second);
    expect((await copyOf('default.edge'))?.type).toBe('kubernetes.io/tls');
    await fixture.append('certificate/edge', 'CertRemoved', null);
    await eventually('it goes with its certificate', async () => (await copyOf('default.edge')) === undefined);
    expect((await versions()).map(({ actor }) => actor)).toEqual(['token/spec', 'token/spec', 'token/spec']);
  });

  test('copies of all gateways stay through a start, and one that cannot be opened stands in nobody’s way', async () => {
    const { fixture, scope, set, copyOf, strange } = await open();
    const names = ['b', 'c', 'd', 'e'];
    for (const name of names) await fixture.addGateway(name);
    await set('default', 'edge', 1);
    for (const [i, name] of names.entries()) await set(name, 'edge', i + 2);
    const publishing = { secrets: { ...scope, publish: NAMESPACE } };
    const first = await fixture.startWorker('w1', publishing);
    const copies = () => Promise.all(['default', ...names].map((name) => copyOf(`${name}.edge`)));
    await eventually('all are there', async () => (await copies()).every((copy) => copy !== undefined));
    const before = (await copies()).map((copy) => copy?.metadata.uid);
    await fixture.stopWorker(first);
    await set('default', 'closed', 10, strange());
    await set('e', 'later', 11);
    await fixture.startWorker('w2', publishing);
    await eventually('what is new is copied', async () => (await copyOf('e.later')) !== undefined);
    expect((await copies()).map((copy) => copy?.metadata.uid)).toEqual(before);
    expect(await copyOf('default.closed')).toBeUndefined();
    await fixture.append('certificate/edge', 'CertRemoved', null);
    await eventually('what has ended goes all the same', async () => (await copyOf('default.edge')) === undefined);
  });

  test('one that comes before its gateway is recorded when that is made, and one that goes while nobody watches is forgotten', async () => {
    const { objects, fixture, scope } = await open();
    const first = await fixture.startWorker('w1', { secrets: scope });
    await objects.call('POST', secrets, {
      metadata: { name: 'early', labels: { 'chancery.io/gateway': 'later' } },
      ...(await tls('a.example')),
    });
    const rows = () =>
      fixture.query<{ name: string; problem: string }>('select name, problem from chancery.kubernetes_secret order by name');
    await eventually('it is said that it cannot be taken', async () => (await rows())[0]?.problem.startsWith('gateway_not_found') === true);
    await fixture.addGateway('later');
    await eventually('it is recorded', async () => (await rows())[0]?.problem === '');
    expect(
      await fixture.query("select from chancery.subject where stream = 'gateway/later' and subject = 'certificate/early'"),
    ).toHaveLength(1);
    await fixture.stopWorker(first);
    await objects.call('DELETE', `${secrets}/early`);
    await fixture.startWorker('w2', { secrets: scope });
    await eventually('it is forgotten', async () => (await rows()).length === 0);
  });
});
