import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';

import { installEnvoy } from '#platform/envoy/binary.js';
import { askCertificate } from '#platform/envoy/certificate-probe.js';

import { createAuthority, type TestAuthority } from '../../libs/platform/envoy/certificates.fixture.js';
import { median, quantile } from '../append/statistics.js';
import { startEchoService } from '../machine/echo-service.js';
import { type Product, startProduct } from '../peers/product.js';
import type { LoadResult, LoadWords } from './tls-load.js';

const HELP = `bench/rotation: a certificate that is put until new handshakes show it, and what is lost meanwhile

  --rotations 20    how many
  --fresh 2         clients that ask on a new connection each time
  --kept 2          clients that keep theirs
  --certificates 1  certificates of the gateway; the first is rotated
  --out FILE        everything that was measured, as JSON
`;

const { values: flags } = parseArgs({
  options: {
    rotations: { type: 'string', default: '20' },
    fresh: { type: 'string', default: '2' },
    kept: { type: 'string', default: '2' },
    certificates: { type: 'string', default: '1' },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

const SERVER_NAME = 'host0.example.com';
const PAUSE_MS = 300;
const LIMIT_MS = 30_000;

interface Rotation {
  /** From the PUT being sent to its answer. */
  readonly answeredMs: number;
  /** From the answer to the first new connection that shows the new certificate; below nothing when that came first. */
  readonly seenAfterAnswerMs: number;
  /** From the PUT being sent to that. */
  readonly seenMs: number;
  /** From the PUT being sent until `propagation` says that the version is live: proven by handshakes. */
  readonly provenMs: number;
}

async function put(
  product: Product,
  name: string,
  authority: TestAuthority,
): Promise<{ version: number; fingerprint: string; atMs: number }> {
  const { chain, key, fingerprint } = await authority.issue([`${name}.example.com`]);
  const body = JSON.stringify({ certificateChain: chain, privateKey: key });
  const answer = JSON.parse(await product.call(`certificates/${name}`, { method: 'PUT', body })) as { gatewayVersion: number };
  return { version: answer.gatewayVersion, fingerprint, atMs: performance.now() };
}

async function rotate(product: Product, port: number, authority: TestAuthority): Promise<Rotation> {
  const leaf = await authority.issue([SERVER_NAME]);
  const body = JSON.stringify({ certificateChain: leaf.chain, privateKey: leaf.key });
  const sentMs = performance.now();
  let seenAtMs: number | undefined;
  const watching = (async () => {
    while (seenAtMs === undefined && performance.now() - sentMs < LIMIT_MS) {
      const { fingerprint } = await askCertificate({ address: '127.0.0.1', port, serverName: SERVER_NAME, secret: '' });
      if (fingerprint === leaf.fingerprint) seenAtMs = performance.now();
    }
  })();
  const answer = JSON.parse(await product.call('certificates/host0', { method: 'PUT', body })) as { gatewayVersion: number };
  const answeredAtMs = performance.now();
  await watching;
  if (seenAtMs === undefined) throw new Error(`the new certificate was not seen within ${LIMIT_MS} ms`);
  const state = JSON.parse(await product.call(`versions/${answer.gatewayVersion}/propagation?wait=30s`, { method: 'GET' })) as {
    state: string;
  };
  if (state.state !== 'live') throw new Error(`version ${answer.gatewayVersion} is ${state.state}`);
  return {
    answeredMs: answeredAtMs - sentMs,
    seenAfterAnswerMs: seenAtMs - answeredAtMs,
    seenMs: seenAtMs - sentMs,
    provenMs: performance.now() - sentMs,
  };
}

async function measure(product: Product, folder: { upstreamPort: number }): Promise<{ rotations: Rotation[]; load: LoadResult }> {
  const authority = await createAuthority('Bench authority');
  let version = 0;
  for (let i = Number(flags.certificates) - 1; i >= 0; i--) version = (await put(product, `host${i}`, authority)).version;
  await product.call('mappings', {
    method: 'POST',
    body: JSON.stringify({ name: 'echo', prefix: '/', service: `127.0.0.1:${folder.upstreamPort}` }),
  });
  await product.call(`versions/${version + 1}/propagation?wait=30s`, { method: 'GET' });
  const port = Number(new URL(product.dev.ready.tls).port);
  const words: LoadWords = { port, serverName: SERVER_NAME, path: '/x', fresh: Number(flags.fresh), kept: Number(flags.kept) };
  const thread = new Worker(new URL('./tls-load.ts', import.meta.url), { workerData: words });
  await sleep(1_000);
  const rotations: Rotation[] = [];
  for (let i = 0; i < Number(flags.rotations); i++) {
    rotations.push(await rotate(product, port, authority));
    await sleep(PAUSE_MS);
  }
  const load = await new Promise<LoadResult>((resolve, reject) => {
    thread.once('message', resolve);
    thread.once('error', reject);
    thread.postMessage('end');
  });
  await thread.terminate();
  return { rotations, load };
}

function report({ rotations, load }: { rotations: readonly Rotation[]; load: LoadResult }): number {
  const line = (what: string, of: keyof Rotation) => {
    const values = rotations.map((one) => one[of]);
    console.log(
      `  ${what.padEnd(58)} p50 ${median(values).toFixed(1)} ms, p90 ${quantile(values, 0.9).toFixed(1)}, max ${Math.max(...values).toFixed(1)}`,
    );
  };
  console.log(
    `${rotations.length} rotations, ${flags.certificates} certificates, load ${loadavg()[0]?.toFixed(1)} on ${cpus().length} cores`,
  );
  line('PUT sent -> answered', 'answeredMs');
  line('PUT sent -> the new certificate on a new connection', 'seenMs');
  line('answered -> the new certificate on a new connection', 'seenAfterAnswerMs');
  line('PUT sent -> live (thirty handshakes in a row, recorded)', 'provenMs');
  const lost = Object.values(load.lost).reduce((sum, count) => sum + count, 0);
  console.log(
    `  ${load.fresh} requests on new connections, ${load.kept} on kept ones; lost: ${lost} ${lost > 0 ? JSON.stringify(load.lost) : ''}`,
  );
  return lost;
}

async function main(): Promise<void> {
  if (flags.help) return console.log(HELP);
  const folder = mkdtempSync(join(tmpdir(), 'chancery-bench-rotation-'));
  const { path: envoy } = await installEnvoy({
    cacheDir: join(import.meta.dirname, '../../.cache/envoy'),
    envoyPath: process.env.ENVOY_PATH,
  });
  const echo = await startEchoService(folder, { ports: 1 });
  const upstreamPort = echo.ports[0] ?? 0;
  try {
    const product = await startProduct({ folder, routes: 0, upstreamPort, ownAddress: undefined, envoy });
    try {
      const measured = await measure(product, { upstreamPort });
      if (report(measured) > 0) process.exitCode = 1;
      if (flags.out !== undefined) {
        mkdirSync(dirname(flags.out), { recursive: true });
        const facts = { bench: 'rotation', at: new Date().toISOString(), node: process.version, cores: cpus().length, flags };
        writeFileSync(flags.out, `${JSON.stringify({ ...facts, ...measured }, null, 1)}\n`);
      }
    } finally {
      await product.stop();
    }
  } finally {
    await echo.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();
