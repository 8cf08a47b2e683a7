import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';

import { defaultSettings } from '#features/gateway/gateway.js';
import { certificateSecret, clientTrustSecret, ticketSecret } from '#features/gateway/tls-secrets.envoy.js';
import { aMapping } from '#features/mapping/mapping.fixture.js';
import { createAuthority, type TestAuthority, type TestCertificate } from '#platform/envoy/certificates.fixture.js';
import type { Secret } from '#platform/envoy/model/tls.js';
import { secretMessage } from '#platform/envoy/wire/tls-messages.js';
import { SECRET_TYPE, type XdsResource } from '#platform/xds/xds-resource.js';

import { type LiveEnvoy, type LiveTls, startEcho, startLiveEnvoy } from './live-envoy.fixture.js';
import { LiveTable } from './live-table.js';
import { askTls, keepTls } from './tls.fixture.js';
import { toResource } from './upstream-resources.js';

jest.setTimeout(60_000);

const secret = (model: Secret): XdsResource => toResource({ typeUrl: SECRET_TYPE, name: model.name }, secretMessage, model);
const clients = { hosts: ['vip.example.com', '*.secure.example.com'], caBundle: null, principals: true, forward: true };

describe('a TLS listener of a real Envoy', () => {
  let authority: TestAuthority;
  let echo: Awaited<ReturnType<typeof startEcho>>;
  let live: LiveEnvoy;
  let port: number;
  const certificates = new Map<string, TestCertificate>();
  const put = (name: string, certificate: TestCertificate) => {
    certificates.set(name, certificate);
    return secret(certificateSecret(name, certificate));
  };
  const fingerprintOf = (name: string) => certificates.get(name)?.fingerprint;
  let tls: LiveTls = {
    policy: { ...defaultSettings.tls, redirectHttp: false, clientCertificates: clients },
    secrets: { certificates: ['certificate-default', 'certificate-a', 'certificate-wild'], tickets: true },
    resources: [],
  };
  let principal: TestCertificate;
  let second: TestCertificate;
  let stranger: TestCertificate;

  beforeAll(async () => {
    authority = await createAuthority();
    [principal, second, stranger] = [
      await authority.issue(['billing']),
      await authority.issue(['second']),
      await authority.issue(['stranger']),
    ];
    tls.principals = [principal.fingerprint, second.fingerprint];
    const resources = [
      put('default', await authority.issue(['default.example.org'])),
      put('a', await authority.issue(['a.example.com', '127.0.0.1'])),
      put('wild', await authority.issue(['*.example.com'])),
      secret(ticketSecret([Buffer.alloc(80, 1), Buffer.alloc(80, 2)])),
      secret(clientTrustSecret(clients, [principal.fingerprint, second.fingerprint])),
    ];
    const table = new LiveTable({ settings: { allowLoopbackUpstreams: true, perRouteStats: 'off' } });
    table.put(aMapping('all', { prefix: '/' }));
    echo = await startEcho();
    tls = { ...tls, resources };
    live = await startLiveEnvoy(table, echo.port, tls);
    port = live.envoy.ports.get('https') ?? 0;
  });

  afterAll(async () => {
    await live?.stop();
    echo?.close();
  });

  test.each([
    ['its own name', 'a.example.com', 'a'],
    ['a name that a wildcard covers', 'b.example.com', 'wild'],
    ['a name that none has', 'b.c.example.com', 'default'],
    ['no name', undefined, 'default'],
  ])('a client that asks for %s gets the certificate for it', async (_case, sni, certificate) => {
    const answer = await askTls({ port, ...(sni === undefined ? {} : { sni }) });
    expect([answer.fingerprint, answer.status, answer.error]).toEqual([fingerprintOf(certificate), 200, '']);
  });

  test('TLS 1.2 and 1.3 are spoken, 1.1 is not, and HTTP/2 is agreed on', async () => {
    const of = (version: 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3') =>
      askTls({ port, sni: 'a.example.com', options: { minVersion: version, maxVersion: version, ciphers: 'DEFAULT@SECLEVEL=0' } });
    expect([(await of('TLSv1.2')).status, (await of('TLSv1.3')).status]).toEqual([200, 200]);
    expect(await of('TLSv1.1')).toMatchObject({ status: 0, fingerprint: '' });
    const weak = await askTls({ port, sni: 'a.example.com', options: { maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA' } });
    expect(weak).toMatchObject({ status: 0, fingerprint: '' });
    expect((await askTls({ port, sni: 'a.example.com', options: { ALPNProtocols: ['h2', 'http/1.1'] } })).alpn).toBe('h2');
  });

  test('a host for clients with a certificate is not reached without one, whatever name the handshake had', async () => {
    const refused = await askTls({ port, sni: 'vip.example.com' });
    expect(refused.status).toBe(0);
    expect((await askTls({ port, sni: 'vip.example.com', client: stranger })).status).toBe(0);
    const known = await askTls({ port, sni: 'vip.example.com', client: principal });
    expect([known.fingerprint, known.status]).toEqual([fingerprintOf('wild'), 200]);
    for (const host of ['vip.example.com', 'VIP.example.com.', 'vip.example.com:443', 'x.secure.example.com']) {
      expect([host, (await askTls({ port, sni: 'a.example.com', host })).status]).toEqual([host, 421]);
      expect([host, (await live.get('/', { headers: { host } })).status]).toEqual([host, 421]);
    }
    expect((await askTls({ port, sni: 'a.example.com', host: 'secure.example.com' })).status).toBe(200);
  });

  test('a principal who was removed is refused with the next request, also on a connection that was kept', async () => {
    const kept = await keepTls({ port, sni: 'vip.example.com', client: principal });
    const other = await keepTls({ port, sni: 'vip.example.com', client: second });
    const host = 'vip.example.com';
    expect([await kept.get({ host }), await other.get({ host })]).toEqual([200, 200]);
    const modified = async () => /listener_modified: (\d+)/.exec((await live.envoy.admin('/stats?filter=listener_modified')).body)?.[1];
    const before = await modified();
    tls.principals = [second.fingerprint];
    await live.apply({ upserts: [secret(clientTrustSecret(clients, [second.fingerprint]))], removed: [] });
    expect([await kept.get({ host }), await other.get({ host })]).toEqual([421, 200]);
    expect([await kept.get({ host: 'a.example.com' }), (await askTls({ port, sni: host, client: principal })).status]).toEqual([200, 0]);
    expect([kept.isOpen(), other.isOpen(), await modified()]).toEqual([true, true, before]);
    tls.principals = [principal.fingerprint, second.fingerprint];
    await live.apply({ upserts: [secret(clientTrustSecret(clients, tls.principals))], removed: [] });
    expect([await kept.get({ host }), (await askTls({ port, sni: host, client: principal })).status]).toEqual([200, 200]);
    kept.close();
    other.close();
  });

  test('services hear of a client what Envoy has checked, and never what the client says', async () => {
    const forged = { 'x-forwarded-client-cert': 'Hash=forged' };
    const heard = async (of: Parameters<typeof askTls>[0]) => JSON.parse((await askTls({ ...of, headers: forged })).body).headers;
    expect((await heard({ port, sni: 'a.example.com' }))['x-forwarded-client-cert']).toBeUndefined();
    const told = (await heard({ port, sni: 'vip.example.com', client: principal }))['x-forwarded-client-cert'];
    expect(told).toContain(`Hash=${principal.fingerprint}`);
    expect(told).not.toContain('forged');
  });

  test('a rotation is seen by new connections, without a change of the listener and without a request lost', async () => {
    let isOver = false;
    const statuses: Record<string, number> = {};
    const lane = async () => {
      while (!isOver) {
        const { status, error } = await askTls({ port, sni: 'a.example.com' });
        statuses[`${status} ${error}`] = (statuses[`${status} ${error}`] ?? 0) + 1;
      }
    };
    const count = async (what: string) =>
      Number(new RegExp(`${what}: (\\d+)`).exec((await live.envoy.admin(`/stats?filter=${what}`)).body)?.[1]);
    const before = await count('listener_manager.listener_modified');
    const lanes = [lane(), lane()];
    for (let i = 0; i < 10; i++) {
      await live.apply({ upserts: [put('a', await authority.issue(['a.example.com']))], removed: [] });
      expect((await askTls({ port, sni: 'a.example.com' })).fingerprint).toBe(fingerprintOf('a'));
    }
    isOver = true;
    await Promise.all(lanes);
    expect(statuses).toEqual({ '200 ': expect.any(Number) });
    expect(await count('listener_manager.listener_modified')).toBe(before);
  });

  test('a key that does not belong to its certificate is refused, and the one before stays', async () => {
    const [one, other] = [await authority.issue(['a.example.com']), await authority.issue(['a.example.com'])];
    const before = fingerprintOf('a');
    await live.apply({ upserts: [secret(certificateSecret('a', { chain: one.chain, key: other.key }))], removed: [] });
    expect(live.rejections.map(({ key }) => key.name)).toEqual(['certificate-a']);
    expect((await askTls({ port, sni: 'a.example.com' })).fingerprint).toBe(before);
    await live.apply({ upserts: [put('a', one)], removed: [] });
    expect((await askTls({ port, sni: 'a.example.com' })).fingerprint).toBe(one.fingerprint);
  });

  test('sessions are resumed with keys that every Envoy of the gateway has', async () => {
    const sessions: Buffer[] = [];
    const options = { maxVersion: 'TLSv1.2' as const };
    await askTls({ port, sni: 'b.example.com', options, onSession: (session) => sessions.push(session) });
    const session = sessions[0];
    expect(
      (await askTls({ port, sni: 'b.example.com', options: { ...options, ...(session === undefined ? {} : { session }) } })).reused,
    ).toBe(true);
  });

  test('no key is shown by the administration interface', async () => {
    const { body } = await live.envoy.admin('/config_dump?include_eds');
    expect(body).toContain('certificate-wild');
    for (const { key } of certificates.values()) expect(body.includes(key.split('\n')[1] ?? '')).toBe(false);
    expect(body).not.toContain(Buffer.alloc(80, 1).toString('base64').slice(0, 60));
  });
});

test('http is sent to https, and the markers are not', async () => {
  const authority = await createAuthority();
  const certificate = await authority.issue(['a.example.com']);
  const table = new LiveTable({ settings: { allowLoopbackUpstreams: true, perRouteStats: 'off' } });
  table.put(aMapping('all', { prefix: '/' }));
  const echo = await startEcho();
  const live = await startLiveEnvoy(table, echo.port, {
    policy: { ...defaultSettings.tls, redirectHttp: true, redirectPort: 8443 },
    secrets: { certificates: ['certificate-a'], tickets: false },
    resources: [secret(certificateSecret('a', certificate))],
  });
  try {
    const sent = await live.get('/x?y=1', { headers: { host: 'a.example.com:8080' } });
    expect([sent.status, sent.headers.location]).toEqual([308, 'https://a.example.com:8443/x?y=1']);
    expect((await askTls({ port: live.envoy.ports.get('https') ?? 0, sni: 'a.example.com' })).status).toBe(200);
    expect(live.rejections).toEqual([]);
  } finally {
    await live.stop();
    echo.close();
  }
});

test('a service behind TLS is believed by the authorities and the name that its mapping gives, and is shown its certificate', async () => {
  const [authority, stranger] = [await createAuthority(), await createAuthority('Stranger')];
  const [own, client] = [await authority.issue(['api.internal']), await authority.issue(['gateway'])];
  const service = createServer(
    { cert: own.chain, key: own.key, ca: [authority.chain], requestCert: true, rejectUnauthorized: true },
    (request, response) =>
      response.end(
        `${(request.socket as TLSSocket).getPeerCertificate().subject.CN} ${(request.socket as TLSSocket & { servername: string }).servername}`,
      ),
  );
  await new Promise<void>((resolve) => service.listen(0, '127.0.0.1', resolve));
  const table = new LiveTable({ settings: { allowLoopbackUpstreams: true, perRouteStats: 'off' } });
  const good = { sni: 'api.internal', caBundle: authority.chain, certificate: 'client' };
  for (const [name, tls] of Object.entries({
    good,
    stranger: { ...good, caBundle: stranger.chain },
    public: { ...good, caBundle: null },
    misnamed: { ...good, sni: 'other.internal' },
    nameless: { ...good, certificate: null },
  })) {
    table.put(aMapping(name, { prefix: `/${name}/`, service: 'https://secure:8443', tls }));
  }
  const live = await startLiveEnvoy(table, (service.address() as AddressInfo).port, {
    policy: defaultSettings.tls,
    secrets: { certificates: [], tickets: false },
    resources: [secret(certificateSecret('client', client))],
  });
  try {
    expect(live.rejections).toEqual([]);
    expect(await live.get('/good/x')).toMatchObject({ status: 200, body: 'gateway api.internal' });
    for (const name of ['stranger', 'public', 'misnamed', 'nameless'])
      expect([name, (await live.get(`/${name}/x`)).status]).toEqual([name, 503]);
  } finally {
    await live.stop();
    service.closeAllConnections();
    service.close();
  }
});
