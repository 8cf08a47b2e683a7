import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChannelCredentials, credentials, Metadata } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';

import { GrpcServer, type MutualTls } from '#platform/grpc/grpc-server.js';
import { DomainError } from '#platform/kernel/errors.js';
import { createLog } from '#platform/log/log.js';
import { ADS_MESSAGE_BYTES, AdsEndpoint, adsService } from './ads-endpoint.js';
import { AggregatedDiscoveryServiceClient } from './generated/discovery.js';
import { ResourceSet } from './resource-set.js';
import { mutualTls, type PeerIdentity, peerIdentity, presentedToken } from './server-credentials.js';
import { CLUSTER_TYPE } from './xds-resource.js';

jest.setTimeout(30_000);

let folder: string;
const disposals: (() => void)[] = [];
afterEach(() => {
  for (const dispose of disposals.splice(0).reverse()) dispose();
});
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'chancery-tls-'));
  authority('ca');
  authority('other-ca');
  issue('server', 'ca', '/CN=worker', 'DNS:localhost,IP:127.0.0.1');
  issue('uri', 'ca', '/CN=edge', 'DNS:edge.example,URI:spiffe://chancery/target/edge-1');
  issue('dns', 'ca', '/CN=edge', 'DNS:edge.example');
  issue('cn', 'ca', '/CN=edge');
  issue('odd', 'ca', '/CN=edge', 'URI:spiffe://a/b\\, DNS:admin');
  issue('stranger', 'other-ca', '/CN=edge', 'DNS:edge.example');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const file = (name: string) => join(folder, name);
const pem = (name: string) => readFileSync(file(name));
const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' });

function authority(name: string): void {
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl('req', '-x509', ...ec, '-keyout', file(`${name}.key`), '-out', file(`${name}.pem`), '-days', '2', '-subj', `/CN=${name}`);
}

/** A certificate with these alternative names, as an openssl configuration writes them (`\\,` is a comma within one). */
function issue(name: string, by: string, subject: string, names?: string): void {
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl('req', ...ec, '-keyout', file(`${name}.key`), '-out', file(`${name}.csr`), '-subj', subject);
  const lines = (names ?? '').split(/(?<!\\),/).filter((one) => one !== '');
  const sections = lines.map((one, i) => `${one.slice(0, one.indexOf(':'))}.${i} = ${one.slice(one.indexOf(':') + 1)}`);
  writeFileSync(file(`${name}.ext`), lines.length === 0 ? '' : `subjectAltName = @names\n[names]\n${sections.join('\n')}\n`);
  const signed = ['-CA', file(`${by}.pem`), '-CAkey', file(`${by}.key`), '-CAcreateserial', '-days', '2', '-extfile', file(`${name}.ext`)];
  openssl('x509', '-req', '-in', file(`${name}.csr`), ...signed, '-out', file(`${name}.pem`));
}

const client = (name: string) => credentials.createSsl(pem('ca.pem'), pem(`${name}.key`), pem(`${name}.pem`));

/** Opens a stream, subscribes to clusters, and answers what the server's `open` saw, or the code of the failure. */
async function dial(
  tls: MutualTls | undefined,
  channel: ChannelCredentials,
  token?: string,
): Promise<{ identity: PeerIdentity | undefined; token: string | undefined } | { code: number; details: string }> {
  let seen: { identity: PeerIdentity | undefined; token: string | undefined } | undefined;
  const endpoint = new AdsEndpoint({
    log: createLog({ process: 'spec', level: 'silent' }),
    open: async ({ call, headers }) => {
      seen = { identity: peerIdentity(call), token: presentedToken(headers) };
      if (seen.token === 'bad') throw new DomainError('unauthenticated', 'token_invalid', 'Not this one.');
      const nothing = () => undefined;
      return { sets: [new ResourceSet()], onRejected: nothing, onHeldBack: nothing, onSettled: nothing, onClosed: nothing };
    },
  });
  const options = { methods: adsService(endpoint), maxMessageBytes: ADS_MESSAGE_BYTES, ...(tls === undefined ? {} : { tls }) };
  const listening = await GrpcServer.listen({ host: '127.0.0.1', port: 0 }, options);
  disposals.push(() => listening.destroy());
  const { port } = listening;
  const ads = new AggregatedDiscoveryServiceClient(`127.0.0.1:${port}`, channel);
  disposals.push(() => ads.close());
  const metadata = new Metadata();
  if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
  return new Promise((resolve) => {
    const call = ads.deltaAggregatedResources(metadata);
    call.on('data', () => resolve(seen ?? { code: -1, details: 'answered without being opened' }));
    call.on('error', (error: Error & { code?: number; details?: string }) =>
      resolve({ code: error.code ?? -1, details: error.details ?? error.message }),
    );
    call.write({
      node: { id: 'n', cluster: 'c' },
      typeUrl: CLUSTER_TYPE,
      resourceNamesSubscribe: [],
      resourceNamesUnsubscribe: [],
      initialResourceVersions: {},
      responseNonce: '',
      errorDetail: undefined,
    });
  });
}

describe('mutual TLS', () => {
  const server = () => mutualTls({ certificateChain: pem('server.pem'), privateKey: pem('server.key'), clientAuthorities: pem('ca.pem') });

  test.each([
    ['uri', 'spiffe://chancery/target/edge-1'],
    ['dns', 'edge.example'],
    ['cn', 'edge'],
  ])('a client is who its certificate says: %s', async (name, identity) => {
    const seen = await dial(server(), client(name));
    expect(seen).toMatchObject({ identity: { name: identity, commonName: 'edge' } });
  });

  test('a name cannot smuggle in another one', async () => {
    expect(await dial(server(), client('odd'))).toMatchObject({
      identity: { uris: ['spiffe://a/b, DNS:admin'], dnsNames: [] },
    });
  });

  test('a client of another authority, or with no certificate, gets as far as no call', async () => {
    expect(await dial(server(), client('stranger'))).toMatchObject({ code: 14 });
    expect(await dial(server(), credentials.createSsl(pem('ca.pem')))).toMatchObject({ code: 14 });
    expect(await dial(server(), credentials.createInsecure())).toMatchObject({ code: 14 });
  });

  test('a key of another certificate is an error at the start', async () => {
    const wrong = { certificateChain: pem('server.pem'), privateKey: pem('uri.key'), clientAuthorities: pem('ca.pem') };
    await expect(async () => dial(mutualTls(wrong), client('uri'))).rejects.toThrow(/key values mismatch/i);
  });
});

describe('a token', () => {
  test('is read where there is no TLS, and no identity is made up', async () => {
    expect(await dial(undefined, credentials.createInsecure(), 'good')).toEqual({ identity: undefined, token: 'good' });
    expect(await dial(undefined, credentials.createInsecure())).toEqual({ identity: undefined, token: undefined });
    expect(await dial(undefined, credentials.createInsecure(), 'bad')).toEqual({
      code: 16,
      details: 'token_invalid: Not this one.',
    });
  });
});
