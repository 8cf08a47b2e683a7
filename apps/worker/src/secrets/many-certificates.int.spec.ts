import { readdirSync, readlinkSync } from 'node:fs';

import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';

import { certificateSecret, certificateSecretName } from '#features/gateway/tls-secrets.envoy.js';
import { aMapping } from '#features/mapping/mapping.fixture.js';
import { inputOf } from '#features/rollout/compile.fixture.js';
import { bootstrapBytes, compile, type Rendered } from '#features/rollout/compile.js';
import { mostWatchedCertificates, type SecretFile, standingSecretIn } from '#features/rollout/placed-secrets.js';
import { type RunningEnvoy, startEnvoy, validate } from '#features/rollout/running-envoy.fixture.js';
import { askCertificate } from '#platform/envoy/certificate-probe.js';
import { createAuthority, type TestAuthority, type TestCertificate } from '#platform/envoy/certificates.fixture.js';
import { endpointFile } from '#platform/envoy/model/reserved.js';
import { refusalReason } from '#platform/envoy/refusal-reason.js';
import { waitUntil } from '#platform/envoy/wait-until.js';

import { formsOf } from './secret-forms.js';

jest.setTimeout(60_000);

const COUNT = 60;
/** A third of what Linux allows a user by default: up to three Envoys run beside each other. */
const MOST_INOTIFY = 42;
const names = Array.from({ length: COUNT }, (_, i) => `c${i + 10}`);
const host = (name: string) => `${name}.example.com`;
const marker = { releaseId: 'r', body: 'm' };

let authority: TestAuthority;
let envoy: RunningEnvoy;
const certificates = new Map<string, TestCertificate>();

beforeAll(async () => {
  authority = await createAuthority();
  for (const name of names) certificates.set(name, await authority.issue([host(name)]));
  const rendered = render();
  envoy = await startEnvoy(bootstrapBytes(rendered, marker), rendered.endpointFiles);
});
afterAll(() => envoy?.stop());

/** A gateway with as many upstreams as have watched files of their own, each with a bundle of its own, and all certificates. */
function render(): Rendered {
  const files = new Map<string, SecretFile>();
  const standing = new Map<string, SecretFile>();
  for (const [name, certificate] of certificates) {
    const forms = formsOf(certificateSecret(name, certificate));
    files.set(forms.resource.name, forms.file);
    if (forms.standing !== undefined) standing.set(forms.resource.name, forms.standing);
  }
  const at = { address: '127.0.0.1', port: 0 };
  const mappings = Array.from({ length: 20 }, (_, i) => {
    const tls = { sni: null, caBundle: `${authority.chain}# ${i}\n`, certificate: names[40 + i] ?? null };
    return aMapping(`m${i}`, { prefix: `/m${i}/`, service: `https://s${i}.example.com`, tls });
  });
  const secrets = { certificates: names.map(certificateSecretName), tickets: false, files, standing };
  return compile({ ...inputOf({ mappings, settings: { http: at, https: at } }), secrets });
}

const shown = async (name: string) => {
  const at = { address: '127.0.0.1', port: envoy.ports.get('https') ?? 0 };
  return (await askCertificate({ ...at, serverName: host(name), secret: '' })).fingerprint;
};

test(`${COUNT} certificates are served without live delivery, with as few watches as before`, async () => {
  for (const name of names) expect([name, await shown(name)]).toEqual([name, certificates.get(name)?.fingerprint]);
  const open = readdirSync(`/proc/${envoy.pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${envoy.pid}/fd/${fd}`);
    } catch {
      return '';
    }
  });
  const watches = open.filter((one) => one.includes('inotify')).length;
  expect([watches > mostWatchedCertificates, watches <= MOST_INOTIFY]).toEqual([true, true]);
  const dump = (await envoy.admin('/config_dump?include_eds')).body;
  for (const { key } of certificates.values()) expect(dump).not.toContain(key.split('\n')[1]);
});

test('a rotation is a file for those that are watched, and another configuration for the others', async () => {
  const before = render();
  const [watched = '', standing = ''] = [names[0], names[mostWatchedCertificates]];
  certificates.set(watched, await authority.issue([host(watched)]));
  const first = render();
  expect(first.renderSha256).toBe(before.renderSha256);
  const secret = certificateSecretName(watched);
  envoy.replace(endpointFile(secret), first.endpointFiles.get(secret)?.json ?? Buffer.alloc(0));
  const isNew = async () => ((await shown(watched)) === certificates.get(watched)?.fingerprint ? true : null);
  expect(await waitUntil(isNew, { timeoutMs: 5_000, everyMs: 20 })).toBe(true);
  certificates.set(standing, await authority.issue([host(standing)]));
  const second = render();
  expect(second.renderSha256).not.toBe(first.renderSha256);
  const gone = [...first.endpointFiles.keys()].filter((name) => !second.endpointFiles.has(name));
  expect(gone).toEqual([expect.stringMatching(new RegExp(`^${certificateSecretName(standing)}-[0-9a-f]{16}$`))]);
});

test('Envoy names the file of one that it refuses, and so it is known which certificate is the cause', async () => {
  const [name = ''] = names.slice(-1);
  const [good, other] = [certificates.get(name), await authority.issue(['other'])];
  if (good === undefined) throw new Error('no such certificate');
  certificates.set(name, { ...good, key: other.key });
  const rendered = render();
  certificates.set(name, good);
  const said = await validate(bootstrapBytes(rendered, marker), rendered.endpointFiles);
  expect(standingSecretIn(refusalReason(said ?? ''))).toBe(certificateSecretName(name));
});
