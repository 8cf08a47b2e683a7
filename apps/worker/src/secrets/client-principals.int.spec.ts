import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

import { expect, jest, test } from '@jest/globals';

import { defaultSettings } from '#features/gateway/gateway.js';
import { certificateSecret, certificateSecretName, clientTrustSecret } from '#features/gateway/tls-secrets.envoy.js';
import { askTls, keepTls } from '#features/layout/tls.fixture.js';
import { aMapping } from '#features/mapping/mapping.fixture.js';
import { inputOf } from '#features/rollout/compile.fixture.js';
import { bootstrapBytes, compile } from '#features/rollout/compile.js';
import { startEnvoy } from '#features/rollout/running-envoy.fixture.js';
import { createAuthority } from '#platform/envoy/certificates.fixture.js';
import { endpointFile } from '#platform/envoy/model/reserved.js';
import { waitUntil } from '#platform/envoy/wait-until.js';

import { clientChecks, formsOf } from './secret-forms.js';

jest.setTimeout(60_000);

test('with hot restarts a principal who was removed is refused with the next request on a kept connection, and nothing is restarted', async () => {
  const authority = await createAuthority();
  const [own, first, second] = await Promise.all(['a.example.com', 'first', 'second'].map((name) => authority.issue([name])));
  if (own === undefined || first === undefined || second === undefined) throw new Error('not issued');
  const clientCertificates = { hosts: ['a.example.com'], caBundle: null, principals: true, forward: false };
  const at = { address: '127.0.0.1', port: 0 };
  const upstream = createServer((_request, response) => response.end('served'));
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
  const service = `127.0.0.1:${(upstream.address() as AddressInfo).port}`;
  const render = (principals: readonly string[]) => {
    const forms = [formsOf(certificateSecret('own', own)), formsOf(clientTrustSecret(clientCertificates, principals))];
    const files = new Map([
      ...forms.map(({ resource, file }) => [resource.name, file] as const),
      ...clientChecks(clientCertificates, principals),
    ]);
    const settings = { http: at, https: at, tls: { ...defaultSettings.tls, clientCertificates }, allowLoopbackUpstreams: true };
    const secrets = { certificates: [certificateSecretName('own')], tickets: false, files, standing: new Map() };
    const endpoints = { [`http://${service}`]: [service] };
    return compile({ ...inputOf({ mappings: [aMapping('all', { prefix: '/', service })], settings, endpoints }), secrets });
  };
  const before = render([first.fingerprint, second.fingerprint]);
  const envoy = await startEnvoy(bootstrapBytes(before, { releaseId: 'r', body: 'm' }), before.endpointFiles);
  try {
    const port = envoy.ports.get('https') ?? 0;
    const [sni, host] = ['a.example.com', 'a.example.com'];
    const kept = await keepTls({ port, sni, client: first });
    const other = await keepTls({ port, sni, client: second });
    expect([await kept.get({ host }), await other.get({ host })]).toEqual([200, 200]);
    const after = render([second.fingerprint]);
    expect(after.renderSha256).toBe(before.renderSha256);
    for (const [name, { json, sha256 }] of after.endpointFiles)
      if (before.endpointFiles.get(name)?.sha256 !== sha256) envoy.replace(endpointFile(name), json);
    const refused = async () => ((await kept.get({ host })) === 421 ? true : null);
    expect(await waitUntil(refused, { timeoutMs: 2_000, everyMs: 20 })).toBe(true);
    const isOut = async () => ((await askTls({ port, sni, client: first })).status === 0 ? true : null);
    expect(await waitUntil(isOut, { timeoutMs: 2_000, everyMs: 20 })).toBe(true);
    expect([await other.get({ host }), kept.isOpen(), other.isOpen()]).toEqual([200, true, true]);
    kept.close();
    other.close();
  } finally {
    await envoy.stop();
    upstream.close();
  }
});
