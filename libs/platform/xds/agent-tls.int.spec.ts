import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { GrpcServer, streaming } from '#platform/grpc/grpc-server.js';

import { adsService } from './ads-endpoint.js';
import { type AgentTls, connectAgent } from './agent-connection.js';
import { AgentMessage, Hello, ReportsService, WorkerMessage } from './generated/delivery.js';
import { mutualTls, type PeerIdentity, peerIdentity } from './server-credentials.js';

let folder: string;
let server: GrpcServer;
let port: number;
let seen: (PeerIdentity | undefined)[];

/** A certificate and its key, made by openssl as an operator would. */
function certificate(name: string, authority?: string): void {
  const file = (end: string) => join(folder, `${name}.${end}`);
  const openssl = (...words: string[]) => execFileSync('openssl', words, { stdio: 'pipe' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', file('key')];
  if (authority === undefined) {
    openssl('req', '-x509', ...key, '-out', file('pem'), '-days', '2', '-subj', `/CN=${name}`);
    return;
  }
  openssl('req', ...key, '-out', file('csr'), '-subj', `/CN=${name}`);
  writeFileSync(file('ext'), `subjectAltName=DNS:${name},DNS:localhost,IP:127.0.0.1\n`);
  const signer = ['-CA', join(folder, `${authority}.pem`), '-CAkey', join(folder, `${authority}.key`), '-CAcreateserial'];
  openssl('x509', '-req', '-in', file('csr'), '-out', file('pem'), '-days', '2', '-extfile', file('ext'), ...signer);
}

const read = (name: string) => readFileSync(join(folder, name));

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'chancery-tls-'));
  certificate('authority');
  certificate('stranger');
  certificate('worker', 'authority');
  certificate('edge-1', 'authority');
  certificate('impostor', 'stranger');
  seen = [];
  const nothing = () => undefined;
  const reports = streaming(AgentMessage.decode, (call) =>
    call.listen({
      message({ message }) {
        if (message?.$case !== 'hello') return;
        seen.push(peerIdentity(call));
        const welcome = { session: 's', term: 1, lineage: 1, lineageId: 'l', statsIntervalMs: 1000 };
        call.write(WorkerMessage.encode({ message: { $case: 'welcome', welcome } }).finish());
      },
      halfClosed: () => call.end(),
      closed: nothing,
    }),
  );
  const identity = { certificateChain: read('worker.pem'), privateKey: read('worker.key'), clientAuthorities: read('authority.pem') };
  const methods = { [ReportsService.connect.path]: reports, ...adsService({ delta: nothing, sotw: nothing }) };
  server = await GrpcServer.listen({ host: '127.0.0.1', port: 0 }, { methods, maxMessageBytes: 1_000_000, tls: mutualTls(identity) });
  port = server.port;
});
afterAll(() => {
  server.destroy();
  rmSync(folder, { recursive: true, force: true });
});

async function connect(tls: AgentTls | undefined): Promise<void> {
  const connection = await connectAgent({
    address: `127.0.0.1:${port}`,
    token: 'token',
    tls,
    hello: Hello.fromPartial({ target: 'edge-1', gateway: 'default' }),
    connectTimeoutMs: 3000,
    onResources: async () => {},
    onReportAck: () => {},
    onValidate: () => {},
    onClosed: () => {},
  });
  connection.close();
}

describe('an agent and a worker with certificates', () => {
  it('know each other by them', async () => {
    await connect({ ca: read('authority.pem'), cert: read('edge-1.pem'), key: read('edge-1.key') });
    expect(seen.at(-1)).toMatchObject({ name: 'edge-1' });
  });

  it.each([
    ['the agent has none', () => ({ ca: read('authority.pem'), cert: undefined, key: undefined })],
    ["the agent's is from somebody else", () => ({ ca: read('authority.pem'), cert: read('impostor.pem'), key: read('impostor.key') })],
    ["the worker's is from somebody else", () => ({ ca: read('stranger.pem'), cert: read('edge-1.pem'), key: read('edge-1.key') })],
    ['the agent speaks in the clear', () => undefined],
  ])('do not connect when %s', async (_why, tls) => {
    const before = seen.length;
    await expect(connect(tls())).rejects.toThrow(/^worker 127\.0\.0\.1:\d+: /);
    expect(seen).toHaveLength(before);
  });
});
