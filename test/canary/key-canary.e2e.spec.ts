import { randomUUID } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { Redis } from 'ioredis';

import { type MadeCertificate, makeCertificate } from '#features/certificate/certificate.fixture.js';
import { keepKeyPair } from '#features/certificate/read-key-pair.js';
import { ask as askEnvoy } from '#features/rollout/running-envoy.fixture.js';
import { EventStore } from '#platform/eventstore/event-store.js';
import { readSubject } from '#platform/eventstore/read-log.js';
import { KeyFile, withNewKey, writeKeyFile } from '#platform/vault/key-file.js';
import { Secret } from '#platform/vault/secret.js';
import { Vault } from '#platform/vault/vault.js';

import { runCommand } from '../cli/command.fixture.js';
import { FaultHouse } from '../faults/fault-house.js';
import { type HttpAnswer, type HttpRequest, send } from '../support/dev-harness.js';
import { startRedis, type TestRedis } from '../support/redis.js';
import { type KeyMarks, keysIn, marksOf } from './key-forms.js';

jest.setTimeout(180_000);

/*
 * Keys that are known go through everything that a key may go through, and then everything that can be read is searched for them. Only one place may hold
 * them: the node's folder, in files that nobody else can read.
 */

const folder = mkdtempSync(join(tmpdir(), 'chancery-canary-'));
const keyFile = join(folder, 'keys.json');
const keys: KeyMarks[] = [];
/** What was read, by where. */
const places = new Map<string, Buffer>();
const monitored: string[] = [];

let redis: TestRedis;
let watching: Redis;
let house: FaultHouse;
let https: number;

beforeAll(async () => {
  writeKeyFile(keyFile, withNewKey(undefined, 'first'));
  redis = await startRedis();
  const client = new Redis(redis.url);
  watching = await client.monitor();
  client.disconnect();
  watching.on('monitor', (_at: string, words: string[]) => monitored.push(words.join(' ')));
  const env = { CHANCERY_KEK_FILE: keyFile, CHANCERY_LOG_LEVEL: 'debug' };
  house = await FaultHouse.start({ redisUrl: redis.url, env });
  await house.startProjector();
  https = await freePort();
  await change('/settings', { method: 'PATCH', body: { https: { address: '127.0.0.1', port: https } } });
});
afterAll(async () => {
  watching?.disconnect();
  await house?.close();
  await redis?.stop();
  rmSync(folder, { recursive: true, force: true });
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/** A certificate whose key is one that is looked for. */
async function canary(name: string, wanted: Parameters<typeof makeCertificate>[0] = {}): Promise<MadeCertificate> {
  const made = await makeCertificate({ dns: [`${name}.example.com`], ...wanted });
  keys.push(marksOf(name, made.key));
  return made;
}
const rsa = { name: 'RSASSA-PKCS1-v1_5', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-256' } as const;

const bodyOf = ({ pem, key }: MadeCertificate) => ({ certificateChain: pem, privateKey: key });
let asked = 0;
async function ask(path: string, request: HttpRequest = {}): Promise<HttpAnswer> {
  const answer = await house.ask(path, request);
  places.set(`answer ${++asked} to ${request.method ?? 'GET'} ${path}`, Buffer.from(`${JSON.stringify(answer.headers)}\n${answer.text}`));
  return answer;
}
async function change(path: string, request: HttpRequest): Promise<HttpAnswer> {
  const answer = await ask(path, request);
  if (answer.status >= 300) throw new Error(`${request.method} ${path}: ${answer.status} ${answer.text}`);
  return answer;
}
const put = (name: string, made: MadeCertificate) => change(`/certificates/${name}`, { method: 'PUT', body: bodyOf(made) });
const versionOf = (answer: HttpAnswer) => Number((answer.json as { gatewayVersion: number }).gatewayVersion);
const live = (version: number) =>
  house.until(`version ${version} is live`, async () => Number((await house.target('a')).provenVersion) >= version, 40_000);

async function refusals(made: MadeCertificate, stranger: MadeCertificate): Promise<void> {
  const bodies: unknown[] = [
    { certificateChain: made.pem + made.key, privateKey: made.key },
    { certificateChain: stranger.pem, privateKey: made.key },
    { ...bodyOf(made), [made.key.slice(40, 160)]: made.key },
    { certificateChain: made.pem, privateKey: { pem: made.key } },
    { certificateChain: made.pem, privateKey: made.key.replace('PRIVATE', 'ENCRYPTED PRIVATE') },
    made.key,
  ];
  for (const body of bodies) expect((await ask('/certificates/bad', { method: 'PUT', body })).status).toBeGreaterThanOrEqual(400);
  const document = { certificates: [{ name: 'edge', ...bodyOf(made) }], mappings: house.steady() };
  const headers = { 'if-match': '*' };
  for (const query of ['', '?dryRun=true'])
    expect((await ask(`/config${query}`, { method: 'PUT', body: document, headers })).status).toBe(400);
  const changes = [{ op: 'put', subject: 'certificate/edge', value: bodyOf(made) }];
  expect((await ask('/changesets', { method: 'POST', body: { changes } })).status).toBeGreaterThanOrEqual(400);
  expect((await ask('/certificates/bad', { method: 'PUT', body: bodyOf(made), token: 'nobody' })).status).toBe(401);
}

/** One that passes every check of ours, and that Envoy refuses: what follows the certificate in its chain is none. */
async function pushRefused(made: MadeCertificate): Promise<void> {
  const { db } = house.database;
  const broken = `${made.pem}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`;
  const pair = { certificateChain: broken, privateKey: new Secret(made.key) };
  const secret = await keepKeyPair(new Vault(db, new KeyFile(keyFile)), { gateway: 'default', name: 'edge' }, pair);
  const { state } = await readSubject(db, 'gateway/default', 'certificate/edge');
  const fingerprint = Buffer.from(await crypto.subtle.digest('SHA-256', made.certificate.rawData)).toString('hex');
  const next = { ...state, fingerprint, chainFingerprint: fingerprint, secret: { ...secret } };
  const events = new EventStore({ database: house.database });
  const context = { commandId: randomUUID(), action: 'PutCertificate', actor: 'system' };
  await events.handle({ stream: 'gateway/default', subjects: ['certificate/edge'], context }, () => [
    { type: 'CertRotated', schemaVersion: 1, subject: 'certificate/edge', state: next },
  ]);
  await events.close();
  await house.until('Envoy has refused it, and that is said', async () => {
    const { problem } = (await ask('/certificates/edge')).json as { problem: { code: string } | null };
    return problem?.code === 'envoy_refused';
  });
}

async function commands(): Promise<void> {
  const env = { HOME: folder, CHANCERY_API: String(house.api.said('ready')?.api), CHANCERY_TOKEN: house.token };
  const made = await canary('pushed');
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const [chain, key] = [file('chain.pem', made.pem), file('key.pem', made.key)];
  const run = async (line: string) => {
    const { status, stdout, stderr } = await runCommand(line.split(' '), { env });
    places.set(`chancery ${line.replaceAll(folder, '')}`, Buffer.from(stdout + stderr));
    return { status, stdout };
  };
  expect((await run(`cert push pushed ${chain} ${key}`)).status).toBe(0);
  expect((await run(`cert push pushed ${key} ${chain}`)).status).toBe(2);
  const exported = file('gateway.yaml', (await run('export')).stdout);
  const lines = [
    'cert list -o json',
    'cert get pushed -o yaml',
    'diff 1..3',
    `apply -f ${exported} --reason canary`,
    'audit -o json',
    'status',
  ];
  await Promise.all(lines.map(run));
}

/** Reads what there is to read now. */
async function look(when: string): Promise<void> {
  const client = await house.superuser();
  const tables = await client.query<{ name: string }>(
    `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`,
  );
  expect(tables.rows.length).toBeGreaterThan(30);
  for (const { name } of tables.rows) {
    const { rows } = await client.query<{ row: string }>(`SELECT t::text AS row FROM ${name} t`);
    places.set(`${when}: table ${name}`, Buffer.from(rows.map(({ row }) => row).join('\n')));
  }
  await client.end();
  const store = new Redis(redis.url);
  await store.config('SET', 'rdbcompression', 'no');
  for (const name of await store.keys('*')) places.set(`${when}: redis ${name}`, (await store.dumpBuffer(name)) ?? Buffer.alloc(0));
  store.disconnect();
  const socketPath = join(house.node('a').folder, 'admin.sock');
  for (const path of ['/config_dump?include_eds', '/certs', '/stats', '/clusters'])
    places.set(`${when}: Envoy ${path}`, Buffer.from((await askEnvoy({ socketPath, path })).body));
  for (const path of [
    '/certificates',
    '/certificates/edge',
    '/config',
    '/versions',
    '/versions/3',
    '/versions/3/config',
    '/deployments',
    '/targets',
    '/v1/audit',
  ])
    await ask(path);
}

const FILES_WITH_KEYS = /^(endpoints|releases|live|gate|shadow|configs)/;

test('a key is nowhere but on the disk of the node, where nobody else can read it', async () => {
  const [edge, wide] = [await canary('edge'), await canary('wide', { algorithm: rsa })];
  await put('edge', edge);
  await live(versionOf(await put('wide', wide)));
  await refusals(await canary('bad'), edge);
  await ask('/certificates/edge?dryRun=true', { method: 'PUT', body: bodyOf(await canary('planned')) });
  await live(versionOf(await put('edge', await canary('rotated'))));
  await pushRefused(await canary('refused'));
  await look('delivered live');
  const rollback = { method: 'POST', headers: { 'if-match': '*' }, body: { toVersion: 6, reason: 'canary', includeCertificates: true } };
  await change('/rollbacks', rollback);
  await commands();

  // By hot restarts, with an agent that does not answer: what is to be done waits in the queue.
  await live(Number((await change('/settings', { method: 'PATCH', body: { delivery: 'hot-restart' } })).headers['chancery-version']));
  const { agent } = house.node('a');
  agent?.pause();
  const waiting = versionOf(await put('edge', await canary('waiting')));
  const { port } = await house.startWorker({ REDIS_URL: '' });
  await look('waiting');
  await house.worker(0).process.kill();
  house.node('a').line.aim(() => port);
  await agent?.kill();
  const again = house.node('a').startAgent();
  await live(waiting);
  await look('restarted');

  for (const [i, process] of [...house.processes, ...(agent === undefined ? [] : [agent]), again].entries())
    places.set(`what ${process.name} (${i}) has written`, Buffer.from(process.output));
  places.set('what was said to Redis', Buffer.from(monitored.join('\n')));
  for (const { name, url } of metrics()) places.set(`metrics of ${name}`, Buffer.from((await send(url)).text));
  expect(keys.length).toBe(8);
  expect(places.size).toBeGreaterThan(150);
  const found = [...places].flatMap(([place, bytes]) => keysIn(bytes, keys).map((key) => `${key}: ${place}`));
  expect(found).toEqual([]);
  const planted = Buffer.concat([places.get('what was said to Redis') ?? Buffer.alloc(0), Buffer.from(JSON.stringify(edge.key))]);
  expect(keysIn(planted, keys)).toEqual(['edge']);

  const onDisk = filesOf(house.node('a').folder).filter(({ path }) => keysIn(readFileSync(path), keys).length > 0);
  expect(onDisk.length).toBeGreaterThan(0);
  for (const { path, name } of onDisk) {
    expect([name, (statSync(path).mode & 0o777).toString(8)]).toEqual([name, '600']);
    expect(name).toMatch(FILES_WITH_KEYS);
  }
});

function metrics(): { readonly name: string; readonly url: string }[] {
  const said = house.processes.map((process) => ({ name: process.name, ready: process.said('ready') }));
  return said.flatMap(({ name, ready }) => {
    if (typeof ready?.api === 'string') return [{ name, url: `${ready.api}/metrics` }];
    return typeof ready?.metrics === 'string' ? [{ name, url: ready.metrics }] : [];
  });
}

function filesOf(root: string): { readonly path: string; readonly name: string }[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({ path, name: path.slice(root.length + 1) }));
}
