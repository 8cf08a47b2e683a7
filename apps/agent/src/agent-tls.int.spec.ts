import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';

import { certificateSecret, ticketSecret } from '#features/gateway/tls-secrets.envoy.js';
import { askTls } from '#features/layout/tls.fixture.js';
import { readAgentConfig } from '#platform/config/agent-config.js';
import { certificateProbePath } from '#platform/envoy/certificate-probe.js';
import { createAuthority, type TestAuthority, type TestCertificate } from '#platform/envoy/certificates.fixture.js';
import { type Bootstrap, createNode, freePort, type Node } from '#platform/envoy/envoy.fixture.js';
import type { Secret } from '#platform/envoy/model/tls.js';
import { waitUntil } from '#platform/envoy/wait-until.js';
import { secretMessage } from '#platform/envoy/wire/tls-messages.js';
import { createLog } from '#platform/log/log.js';
import { SECRET_TYPE, type XdsResource } from '#platform/xds/xds-resource.js';

import { type RunningAgent, startAgent } from './agent.js';
import { liveScope, liveTlsListener, resource } from './live.fixture.js';
import { startTestWorker, type TestWorker, TOKEN } from './worker.fixture.js';

jest.setTimeout(90_000);

let authority: TestAuthority;
let node: Node;
let worker: TestWorker;
let https: number;
let agents: RunningAgent[];

beforeAll(async () => {
  authority = await createAuthority();
});
beforeEach(async () => {
  node = await createNode();
  https = await freePort();
  worker = await startTestWorker(node.port);
  agents = [];
});
afterEach(async () => {
  for (const agent of agents) await agent.stop('stop');
  await worker.close();
  await node.dispose();
});

async function start(): Promise<RunningAgent> {
  const variables = {
    CHANCERY_AGENT_DATA: node.folder.path,
    CHANCERY_AGENT_HTTP_LISTEN: `127.0.0.1:${node.port}`,
    CHANCERY_AGENT_HTTPS_LISTEN: `127.0.0.1:${https}`,
    CHANCERY_AGENT_TOKEN: TOKEN,
    CHANCERY_AGENT_WORKER: `127.0.0.1:${worker.port}`,
  };
  const agent = await startAgent({
    config: readAgentConfig(variables, []),
    envoy: { path: node.binary, version: '1.40.0', source: 'cache' },
    version: 'test',
    log: createLog({ process: 'agent', level: process.env.TEST_LOG ?? 'silent' }),
    failpoint: () => {},
    onEnvoy: () => {},
  });
  agents.push(agent);
  return agent;
}

const secretOf = (certificate: TestCertificate): XdsResource => {
  const model = certificateSecret('a', certificate);
  return resource(SECRET_TYPE, model.name, secretMessage, model);
};
const probesOf = (fingerprint: string) =>
  ['a.example.com', ''].map((serverName) => ({
    path: certificateProbePath({ address: '127.0.0.1', port: https, serverName, secret: 'certificate-a' }),
    body: fingerprint,
  }));
const shown = async () => (await askTls({ port: https, sni: 'a.example.com', path: '/a' })).fingerprint;

describe('certificates over live delivery', () => {
  it('are proven by handshakes, each rotation by those that show the new one', async () => {
    await start();
    const [first, second] = [await authority.issue(['a.example.com']), await authority.issue(['a.example.com'])];
    const upserts = [liveScope('a', { body: 'one' }), liveTlsListener(https, 'certificate-a'), secretOf(first)];
    const pushed = await worker.pushLive({ upserts, probes: probesOf(first.fingerprint) });
    await worker.reported(pushed.releaseId, 'proven');
    expect(await askTls({ port: https, sni: 'a.example.com', path: '/a' })).toMatchObject({ fingerprint: first.fingerprint, body: 'one' });

    const rotated = await worker.pushLive({ upserts: [secretOf(second)], probes: probesOf(second.fingerprint) });
    const report = await worker.reported(rotated.releaseId, 'proven');
    expect(await shown()).toBe(second.fingerprint);
    expect(Number(/^\d+/.exec(report.detail)?.[0])).toBeGreaterThanOrEqual(60); // thirty for each name
  });

  it('F21: a certificate that is not shown is not proven, and what is shown instead is said', async () => {
    await start();
    const first = await authority.issue(['a.example.com']);
    const upserts = [liveScope('a', { body: 'one' }), liveTlsListener(https, 'certificate-a'), secretOf(first)];
    await worker.reported((await worker.pushLive({ upserts, probes: probesOf(first.fingerprint) })).releaseId, 'proven');
    const other = await worker.pushLive({ upserts: [liveScope('a', { body: 'two' })], probes: probesOf('f'.repeat(64)) });
    const report = await worker.reported(other.releaseId, 'failed', 30_000);
    expect(report).toMatchObject({ code: 'proof_missing' });
    expect(report.detail).toContain('the certificate with the serial');
  });

  it('F21: a secret that comes late keeps its listener waiting, and the one before serves meanwhile', async () => {
    await start();
    const [a, b] = [await authority.issue(['a.example.com']), await authority.issue(['b.example.com'])];
    const upserts = [liveScope('a', { body: 'one' }), liveTlsListener(https, 'certificate-a'), secretOf(a)];
    await worker.reported((await worker.pushLive({ upserts, probes: probesOf(a.fingerprint) })).releaseId, 'proven');
    const model = certificateSecret('b', b);
    const late = resource(SECRET_TYPE, model.name, secretMessage, model);
    await worker.pushLive({ upserts: [liveTlsListener(https, 'certificate-a', 'certificate-b')], probes: [] });
    for (let i = 0; i < 20; i++) expect(await shown()).toBe(a.fingerprint);
    const path = certificateProbePath({ address: '127.0.0.1', port: https, serverName: 'b.example.com', secret: 'certificate-b' });
    const come = await worker.pushLive({ upserts: [late], probes: [{ path, body: b.fingerprint }] });
    await worker.reported(come.releaseId, 'proven');
    expect(await shown()).toBe(a.fingerprint);
  });

  it('F35: what is sent without bytes stays as the node has it; what it does not have is refused', async () => {
    await start();
    const first = await authority.issue(['a.example.com']);
    const held = { ...secretOf(first), value: Buffer.alloc(0) };
    const upserts = [liveScope('a', { body: 'one' }), liveTlsListener(https, 'certificate-a')];
    expect(await worker.pushLive({ upserts: [...upserts, held] })).toMatchObject({
      kind: 'refused',
      message: expect.stringContaining('secret_missing'),
    });
    const pushed = await worker.pushLive({ upserts: [...upserts, secretOf(first)], probes: probesOf(first.fingerprint), whole: true });
    await worker.reported(pushed.releaseId, 'proven');
    const whole = await worker.pushLive({
      upserts: [held, liveScope('a', { body: 'two' })],
      probes: probesOf(first.fingerprint),
      whole: true,
    });
    await worker.reported(whole.releaseId, 'proven');
    expect(await askTls({ port: https, sni: 'a.example.com', path: '/a' })).toMatchObject({ fingerprint: first.fingerprint, body: 'two' });
  });

  it('F36: with everything else dead the node starts and serves them from its disk, where only its owner reads them', async () => {
    const agent = await start();
    const first = await authority.issue(['a.example.com']);
    const upserts = [liveScope('a', { body: 'one' }), liveTlsListener(https, 'certificate-a'), secretOf(first)];
    await worker.reported((await worker.pushLive({ upserts, probes: probesOf(first.fingerprint) })).releaseId, 'proven');
    agents = [];
    await agent.stop('stop');
    await worker.close();
    await start();
    expect(await waitUntil(async () => ((await shown()) === first.fingerprint ? true : null), { timeoutMs: 10_000, everyMs: 20 })).toBe(
      true,
    );
    const key = first.key.split('\n')[1] ?? '?';
    const files = readdirSync(node.folder.path, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
    const holding = files.map((file) => join(file.parentPath, file.name)).filter((path) => readFileSync(path).includes(key));
    expect(holding.length).toBeGreaterThan(0);
    for (const path of holding) expect([path, statSync(path).mode & 0o777]).toEqual([path, 0o600]);
    expect(holding.filter((path) => path.includes('/logs/'))).toEqual([]);
  });
});

describe('certificates over hot restarts', () => {
  const file = (model: Secret) => JSON.stringify({ version_info: JSON.stringify(model).length.toString(), resources: [model] });
  const tickets = file(ticketSecret([Buffer.alloc(80, 3)]));
  const bend = (bootstrap: Bootstrap) => {
    const [http] = bootstrap.static_resources.listeners;
    const from = (name: string) => ({
      name,
      sds_config: { path_config_source: { path: `endpoints/${name}.json` }, resource_api_version: 'V3' },
    });
    const typed_config = {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
      common_tls_context: { tls_certificate_sds_secret_configs: [from('certificate-a')] },
      session_ticket_keys_sds_secret_config: from('session-tickets'),
    };
    const chain = { ...http.filter_chains[0], transport_socket: { name: 'envoy.transport_sockets.tls', typed_config } };
    const address = { socket_address: { address: '127.0.0.1', port_value: https } };
    bootstrap.static_resources.listeners.push({ ...http, name: 'https', address, filter_chains: [chain] });
  };
  const release = (body: string, certificate: TestCertificate) => ({
    body,
    bend,
    endpoints: { 'certificate-a': file(certificateSecret('a', certificate)), 'session-tickets': tickets },
    probes: probesOf(certificate.fingerprint),
  });

  it('a rotation is a file and no restart, and no handshake is lost meanwhile; sessions outlive a restart', async () => {
    await start();
    const first = await authority.issue(['a.example.com']);
    await worker.reported((await worker.push(release('one', first))).releaseId, 'proven');
    let isOver = false;
    const seen: Record<string, number> = {};
    const lane = async () => {
      while (!isOver) {
        const { status, error } = await askTls({ port: https, sni: 'a.example.com' });
        seen[`${status} ${error}`] = (seen[`${status} ${error}`] ?? 0) + 1;
      }
    };
    const lanes = [lane(), lane()];
    let certificate = first;
    for (let i = 0; i < 3; i++) {
      certificate = await authority.issue(['a.example.com']);
      const { releaseId } = await worker.push(release('one', certificate));
      const report = await worker.reported(releaseId, 'proven');
      expect(report.detail).toMatch(/^30 requests, \d+ handshakes$/);
      expect(worker.reports.filter((one) => one.releaseId === releaseId).map(({ step }) => step)).not.toContain('restarted');
      expect(await shown()).toBe(certificate.fingerprint);
    }
    const sessions: Buffer[] = [];
    const options = { maxVersion: 'TLSv1.2' as const };
    await askTls({ port: https, sni: 'a.example.com', options, onSession: (session) => sessions.push(session) });
    const { releaseId } = await worker.push(release('two', certificate));
    await worker.reported(releaseId, 'restarted');
    await worker.reported(releaseId, 'proven');
    const session = sessions[0] as Buffer;
    const resumed = await askTls({ port: https, sni: 'a.example.com', options: { ...options, session } });
    expect([resumed.reused, resumed.body]).toEqual([true, 'two']);
    isOver = true;
    await Promise.all(lanes);
    expect(seen).toEqual({ '200 ': expect.any(Number) });
  });
});
