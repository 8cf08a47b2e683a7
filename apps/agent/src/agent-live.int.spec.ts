import { closeSync, openSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { readAgentConfig } from '#platform/config/agent-config.js';
import { createNode, type Node } from '#platform/envoy/envoy.fixture.js';
import { findEpochs } from '#platform/envoy/launcher.js';
import { identifyProcess, signalProcess } from '#platform/envoy/process-identity.js';
import { ask } from '#platform/envoy/proof.js';
import { waitUntil } from '#platform/envoy/wait-until.js';
import { createLog } from '#platform/log/log.js';
import type { XdsResource } from '#platform/xds/xds-resource.js';
import { lostCount, startLoad } from '../../../test/load/load-client.js';
import { type RunningAgent, startAgent } from './agent.js';
import { badScope, liveBootstrap, liveCluster, liveListener, liveScope } from './live.fixture.js';
import { startTestWorker, type TestWorker, TOKEN } from './worker.fixture.js';

jest.setTimeout(60_000);

let node: Node;
let worker: TestWorker;
let agents: RunningAgent[];
let envoys: { pid: number; epoch: number }[];
beforeEach(async () => {
  node = await createNode();
  worker = await startTestWorker(node.port);
  agents = [];
  envoys = [];
});
afterEach(async () => {
  for (const agent of agents) await agent.stop('stop');
  await worker.close();
  await node.dispose();
});

async function start(options: { worker?: number; onEnvoy?: (envoy: { pid: number; epoch: number }) => void } = {}): Promise<RunningAgent> {
  const agent = await startAgent({
    config: readAgentConfig(
      {
        CHANCERY_AGENT_DATA: node.folder.path,
        CHANCERY_AGENT_HTTP_LISTEN: `127.0.0.1:${node.port}`,
        CHANCERY_AGENT_TOKEN: TOKEN,
        CHANCERY_AGENT_WORKER: `127.0.0.1:${options.worker ?? worker.port}`,
      },
      [],
    ),
    envoy: { path: node.binary, version: '1.40.0', source: 'cache' },
    version: 'test',
    log: createLog({ process: 'agent', level: process.env.TEST_LOG ?? 'silent' }),
    failpoint: () => {},
    onEnvoy: (envoy) => {
      envoys.push(envoy);
      options.onEnvoy?.(envoy);
    },
  });
  agents.push(agent);
  return agent;
}

async function stop(agent: RunningAgent, envoy: 'keep' | 'stop'): Promise<void> {
  agents.splice(agents.indexOf(agent), 1);
  await agent.stop(envoy);
}

const get = async (path = '/a') => (await ask({ host: '127.0.0.1', port: node.port, path, headers: {} })).body;
const served = (body: string, path = '/a') =>
  waitUntil(async () => ((await get(path)) === body ? true : null), { timeoutMs: 10_000, everyMs: 2 });
const stepsOf = (releaseId: string) => worker.reports.filter((report) => report.releaseId === releaseId).map(({ step }) => step);
const pidOf = async () => (await findEpochs(node.folder.path)).map(({ process: { pid } }) => pid);
const scope = (body: string, name = 'a') => liveScope(name, { body });

/** Pushes scopes live and waits for the proof of it. */
async function bring(...upserts: readonly XdsResource[]): Promise<string> {
  const pushed = await worker.pushLive({ upserts });
  expect(pushed).toMatchObject({ kind: 'acknowledged' });
  await worker.reported(pushed.releaseId, 'proven');
  return pushed.releaseId;
}

describe('live delivery', () => {
  it('starts Envoy with a first release, and changes it without another process', async () => {
    await start();
    const first = await bring(scope('one'));
    expect(stepsOf(first)).toEqual(['accepted', 'checked', 'validated', 'shadow_booted', 'restarting', 'restarted', 'proven']);
    expect(await get()).toBe('one');
    const before = await pidOf();
    const second = await bring(scope('two'));
    expect(await get()).toBe('two');
    expect(stepsOf(second)).toEqual(['proven']);
    expect(await pidOf()).toEqual(before);
    expect(envoys).toHaveLength(1);
    expect(await worker.reported(second, 'proven')).toMatchObject({
      version: 2,
      coversFrom: 2,
      renderSha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    await waitUntil(() => (worker.status()?.provenVersion === 2 ? true : null), { timeoutMs: 4000, everyMs: 5 });
    expect(worker.status()).toMatchObject({
      delivery: 'live',
      epoch: 0,
      appliedVersion: 2,
      provenVersion: 2,
      error: '',
      envoyPid: before[0],
    });
  });

  it('makes few proofs of a hundred changes, which cover all of them', async () => {
    await start();
    await bring(scope('0'));
    const known = worker.reports.length;
    let last = { releaseId: '', version: 0 };
    for (let n = 1; n <= 100; n++) last = await worker.pushLive({ upserts: [scope(String(n)), scope(`b${n}`, `b${n % 5}`)] });
    await worker.reported(last.releaseId, 'proven');
    expect(await get()).toBe('100');
    const proofs = worker.reports.slice(known).filter(({ step }) => step === 'proven');
    expect(worker.reports.slice(known).map(({ step }) => step)).toEqual(proofs.map(() => 'proven'));
    expect(proofs.length).toBeLessThan(50);
    // Without a gap and without an overlap.
    let next = 2;
    for (const { coversFrom, version } of proofs) {
      expect(coversFrom).toBe(next);
      next = version + 1;
    }
    expect(next).toBe(last.version + 1);
  });

  it('refuses what is not newer, has another base, or is not what it says', async () => {
    await start();
    await bring(scope('one'));
    const refused = async (change: Parameters<TestWorker['pushLive']>[0]) =>
      (await worker.pushLive({ upserts: [scope('x')], ...change })).message;
    expect(await refused({ term: 0 })).toMatch(/^not_newer: /);
    expect(await refused({ version: 0 })).toMatch(/^version_lower: /);
    expect(await refused({ baseDigest: 'f'.repeat(64) })).toMatch(/^base_mismatch: the node holds [0-9a-f]{64}, not f+$/);
    expect(await refused({ digest: 'f'.repeat(64) })).toMatch(/^digest_mismatch: /);
    expect(await refused({ upserts: [{ ...scope('x'), version: '0'.repeat(64) }] })).toMatch(/^damaged: /);
    expect(await refused({ upserts: [], removed: [liveListener(node.port)] })).toMatch(/^no_listener: /);
    expect(await get()).toBe('one');
    await bring(scope('two'));
    // The whole set needs no base.
    const whole = await worker.pushLive({ upserts: [scope('three')], whole: true });
    await worker.reported(whole.releaseId, 'proven');
    expect(await get()).toBe('three');
  });

  it('leaves the rest in force when Envoy refuses a resource, and names it', async () => {
    await start();
    await bring(scope('good'), scope('other', 'b'));
    const { releaseId } = await worker.pushLive({ upserts: [badScope('a'), scope('changed', 'b')] });
    const refused = await worker.reported(releaseId, 'refused');
    expect(refused).toMatchObject({ code: 'envoy_refused', detail: expect.stringContaining('nowhere'), resources: [{ name: 'a' }] });
    await worker.reported(releaseId, 'proven');
    expect(await get()).toBe('good');
    expect(await get('/b')).toBe('changed');
    await bring(scope('better'));
    expect(await get()).toBe('better');
  });

  it('starts from disk what Envoy had, not what it refused', async () => {
    const agent = await start();
    await bring(scope('good'), scope('other', 'b'));
    const { releaseId } = await worker.pushLive({ upserts: [badScope('a'), scope('changed', 'b')] });
    await worker.reported(releaseId, 'proven');
    await stop(agent, 'stop');
    await start({ worker: 1 });
    expect(await get()).toBe('good');
    expect(await get('/b')).toBe('changed');
  });

  it('holds back only what needs a cluster that does not warm', async () => {
    await start();
    await bring(scope('one'), scope('before', 'c'));
    const held = liveScope('c', { cluster: 'cold', mark: 'c1' });
    const { releaseId } = await worker.pushLive({ upserts: [...liveCluster('cold'), held, scope('two')] });
    expect(await served('two')).toBe(true);
    const ofC = () =>
      worker.reports.find(({ step, resources }) => step === 'held_back' && resources.some(({ name }) => name === 'c')) ?? null;
    const report = await waitUntil(ofC, { timeoutMs: 10_000, everyMs: 5 });
    expect(report).toMatchObject({ releaseId, code: 'not_warm', detail: expect.stringContaining('c waits for cold') });
    await worker.reported(releaseId, 'proven');
    expect(await get('/c')).toBe('before');
    const upstream = createServer((socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nwarm'));
    await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
    const [, endpoints] = liveCluster('cold', (upstream.address() as { port: number }).port);
    if (endpoints === undefined) throw new Error('no endpoints');
    const warmed = await worker.pushLive({ upserts: [endpoints] });
    expect(await served('warm', '/c')).toBe(true);
    // What was held back is asked for when it is there, with the rest or after it: 30 times, and the marker thrice.
    const proofs = () => worker.reports.filter((one) => one.releaseId === warmed.releaseId && one.step === 'proven');
    const requests = () => proofs().reduce((sum, { detail }) => sum + Number.parseInt(detail, 10), 0);
    expect(await waitUntil(() => (requests() >= 33 ? true : null), { timeoutMs: 5000, everyMs: 5 })).toBe(true);
    upstream.close();
  });

  it('loses nothing in a thousand changes under load', async () => {
    await start();
    await bring(scope('0'));
    const load = startLoad({ host: '127.0.0.1', port: node.port, path: '/a', rate: 200, lanes: ['new', 'busy'] });
    let last = { releaseId: '' };
    for (let n = 1; n <= 1000; n++) last = await worker.pushLive({ upserts: [scope(String(n))] });
    await worker.reported(last.releaseId, 'proven');
    const result = await load.stop();
    expect({ lost: result.lost.slice(0, 3), count: lostCount(result) }).toEqual({ lost: [], count: 0 });
    expect(envoys).toHaveLength(1);
  });
});

describe('a listener that changes', () => {
  const after: (() => void)[] = [];
  afterEach(() => {
    for (const end of after.splice(0)) end();
  });

  /** Asks on this connection for what takes its time; resolves with the whole answer, or with what came when the connection ended. */
  const askOn = (socket: Socket, path: string) =>
    new Promise<string>((resolve) => {
      let text = '';
      socket.on('data', (chunk: Buffer) => {
        text += chunk.toString();
        if (text.endsWith('late')) resolve(text);
      });
      socket.once('end', () => resolve(`${text}, and the end`));
      socket.once('error', (error) => resolve(`${text}, and ${error.message}`));
      socket.write(`GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`);
    });

  it.each([
    ['in place', { statPrefix: 'another' }],
    ['as a whole', { bufferBytes: 32_768 }],
  ])('%s lets a request end that takes longer than the window of a restart, and asks its client to leave', async (_how, change) => {
    const waiting: Socket[] = [];
    const upstream = createServer((socket) => socket.on('error', () => {}).on('data', () => waiting.push(socket)));
    after.push(() => upstream.close());
    await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
    await start();
    await bring(
      ...liveCluster('slow', (upstream.address() as { port: number }).port),
      liveScope('slow', { cluster: 'slow', mark: 's' }),
      scope('one'),
    );
    const socket = connect(node.port, '127.0.0.1');
    after.push(() => [socket, ...waiting].forEach((each) => void each.destroy()));
    const answered = askOn(socket, '/slow');
    await waitUntil(() => waiting[0] ?? null, { timeoutMs: 5000, everyMs: 2 });
    const window = { drainTimeS: 1, parentShutdownTimeS: 2 };
    const changed = await worker.pushLive({ upserts: [liveListener(node.port, change), scope('two')], ...window });
    await worker.reported(changed.releaseId, 'proven');
    setTimeout(() => waiting[0]?.write('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate'), window.parentShutdownTimeS * 1000);
    const answer = await answered;
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nlate$/s);
    expect(answer).toMatch(/\r\nconnection: close\r\n/);
    expect(envoys).toHaveLength(1);
  });
});

describe('an agent that is delivered live, without its worker', () => {
  it('starts Envoy from disk within two seconds', async () => {
    const agent = await start();
    await bring(scope('one'));
    await bring(scope('two'));
    await stop(agent, 'stop');
    expect(await findEpochs(node.folder.path)).toEqual([]);
    const startedAt = performance.now();
    await start({ worker: 1 });
    expect(await get()).toBe('two');
    expect(performance.now() - startedAt).toBeLessThan(2000);
  });

  it('starts what was proven in the end, when its first proof had failed', async () => {
    const agent = await start();
    const wrong = await worker.pushLive({ upserts: [scope('one')], probes: [{ path: '/.well-known/chancery/shard/a', body: 'never' }] });
    expect(await worker.reported(wrong.releaseId, 'failed', 20_000)).toMatchObject({
      code: 'proof_missing',
      detail: expect.stringContaining('/.well-known/chancery/shard/a: status 200: one'),
    });
    expect(await get()).toBe('one');
    await bring(scope('two'));
    await stop(agent, 'stop');
    await start({ worker: 1 });
    expect(await get()).toBe('two');
  });

  it('leaves Envoy alone when it is another agent, and goes on', async () => {
    const agent = await start();
    await bring(scope('one'));
    const before = await pidOf();
    await stop(agent, 'keep');
    expect(await get()).toBe('one');
    await start();
    expect(await pidOf()).toEqual(before);
    await bring(scope('two'));
    expect(await get()).toBe('two');
    expect(await pidOf()).toEqual(before);
  });

  it('gives the worker the digest of what it holds', async () => {
    const agent = await start();
    await bring(scope('one'));
    await stop(agent, 'keep');
    await start();
    const session = await waitUntil(() => worker.session() ?? null, { timeoutMs: 5000, everyMs: 5 });
    expect(session?.hello.liveDigest).toBe(worker.set().digest);
    expect(session?.hello.liveBootstrapSha256).toMatch(/^[0-9a-f]{64}$/);
  });

  it('starts Envoy again when it is killed, with the newest release', async () => {
    await start();
    await bring(scope('one'));
    const second = await bring(scope('two'));
    const envoy = identifyProcess(envoys[0]?.pid ?? 0);
    if (envoy === null) throw new Error('no Envoy');
    signalProcess(envoy, 'SIGKILL');
    expect(await waitUntil(() => (envoys.length > 1 ? true : null), { timeoutMs: 10_000, everyMs: 2 })).toBe(true);
    expect(await served('two')).toBe(true);
    await worker.reported(second, 'recovered');
    await bring(scope('three'));
    expect(await get()).toBe('three');
  });

  it('serves the set that was proven, when Envoy dies again and again under a newer one', async () => {
    let kills = 0;
    await start({
      onEnvoy: ({ pid }) => {
        if (envoys.length === 1 || kills >= 2) return;
        kills += 1;
        process.kill(pid, 'SIGKILL');
      },
    });
    await bring(scope('one'));
    // Its probe is never right, so it is unproven while Envoy dies.
    const bad = await worker.pushLive({ upserts: [scope('two')], probes: [{ path: '/.well-known/chancery/shard/a', body: 'never' }] });
    expect(await served('two')).toBe(true);
    process.kill(envoys[0]?.pid ?? 0, 'SIGKILL');
    expect(await worker.reported(bad.releaseId, 'failed', 20_000)).toMatchObject({ code: 'envoy_died' });
    expect(await served('one')).toBe(true);
    await bring(scope('three'));
    expect(await get()).toBe('three');
  });
});

describe('a disk in its way', () => {
  /** Until everything is on the disk twice; from then on changes are in the newest segment alone. */
  const twice = () =>
    waitUntil(() => (readdirSync(node.folder.live).filter((name) => name.endsWith('.segment')).length === 2 ? true : null), {
      timeoutMs: 5000,
      everyMs: 2,
    });
  const segment = () =>
    join(
      node.folder.live,
      readdirSync(node.folder.live)
        .filter((name) => name.endsWith('.segment'))
        .sort()
        .at(-1) ?? '',
    );

  it('refuses what it cannot store, serves on, and takes the next', async () => {
    const first = await start();
    await bring(scope('one'));
    await stop(first, 'keep');
    await start();
    // A file where the folder was: no write succeeds, as on a disk that is full or read-only.
    renameSync(node.folder.live, `${node.folder.live}.away`);
    writeFileSync(node.folder.live, '');
    const refused = await worker.pushLive({ upserts: [scope('two')] });
    expect(refused).toMatchObject({ kind: 'refused', message: expect.stringMatching(/^not_stored: .*could not store it/) });
    expect(await get()).toBe('one');
    rmSync(node.folder.live);
    renameSync(`${node.folder.live}.away`, node.folder.live);
    await bring(scope('three'));
    expect(await get()).toBe('three');
  });

  it('starts the release before, when the journal is torn', async () => {
    const agent = await start();
    await bring(scope('one'));
    await twice();
    const whole = readFileSync(segment()).length;
    await bring(scope('two'));
    await stop(agent, 'stop');
    truncateSync(segment(), whole + 100);
    await start({ worker: 1 });
    expect(await get()).toBe('one');
  });

  it('starts the release before, when a bit of the newest resource is flipped', async () => {
    const agent = await start();
    await bring(scope('one'));
    await twice();
    await bring(scope('a text that stands once'));
    await stop(agent, 'stop');
    const path = segment();
    const at = readFileSync(path).indexOf('a text that stands once');
    const fd = openSync(path, 'r+');
    writeSync(fd, Buffer.from('A'), 0, 1, at);
    closeSync(fd);
    await start({ worker: 1 });
    expect(await get()).toBe('one');
  });
});

describe('another bootstrap', () => {
  it('comes by a hot restart that loses nothing, while changes go on', async () => {
    await start();
    await bring(scope('0'));
    const load = startLoad({ host: '127.0.0.1', port: node.port, path: '/a', rate: 100, lanes: ['new', 'busy'] });
    const bootstrap = liveBootstrap({ cluster: 'other' });
    const window = { bootstrap, drainTimeS: 1, parentShutdownTimeS: 5 };
    const { releaseId } = await worker.pushLive({ upserts: [scope('1')], ...window });
    expect(await worker.reported(releaseId, 'restarted')).toMatchObject({ epochFrom: 0, epochTo: 1 });
    let last = '';
    for (let n = 2; n <= 50; n++) last = (await worker.pushLive({ upserts: [scope(String(n))], ...window })).releaseId;
    await worker.reported(last, 'proven');
    expect(await get()).toBe('50');
    await waitUntil(async () => ((await findEpochs(node.folder.path)).length === 1 ? true : null), { timeoutMs: 10_000, everyMs: 20 });
    const result = await load.stop();
    expect({ lost: result.lost.slice(0, 3), count: lostCount(result) }).toEqual({ lost: [], count: 0 });
    expect(envoys.map(({ epoch }) => epoch)).toEqual([0, 1]);
  });

  it('is refused by the gate when Envoy does not take it, and what runs goes on', async () => {
    await start();
    await bring(scope('one'));
    const bootstrap = Buffer.from(JSON.stringify({ ...JSON.parse(liveBootstrap().toString('utf8')), no_such_field: 1 }));
    const bad = await worker.pushLive({ upserts: [scope('two')], bootstrap });
    expect(await worker.reported(bad.releaseId, 'refused')).toMatchObject({
      code: 'envoy_refused',
      detail: expect.stringContaining('no_such_field'),
    });
    await bring(scope('three'));
    expect(await get()).toBe('three');
    expect(envoys).toHaveLength(1);
  });

  it('is refused when nobody would answer its ADS', async () => {
    await start();
    const bootstrap = Buffer.from(JSON.stringify({ ...JSON.parse(liveBootstrap().toString('utf8')), static_resources: {} }));
    const bad = await worker.pushLive({ upserts: [scope('one')], bootstrap });
    expect(await worker.reported(bad.releaseId, 'refused')).toMatchObject({ code: 'no_ads' });
  });
});

describe('the two deliveries', () => {
  it('follow each other both ways, by hot restarts that lose nothing', async () => {
    await start();
    await worker.reported((await worker.push({ body: 'static' })).releaseId, 'proven');
    const load = startLoad({ host: '127.0.0.1', port: node.port, path: '/a', rate: 100, lanes: ['new', 'busy'] });
    const first = await worker.pushLive({ upserts: [scope('live')] });
    await worker.reported(first.releaseId, 'proven', 20_000);
    expect(await get()).toBe('live');
    expect(worker.status()?.delivery).toBe('live');
    const back = await worker.push({ body: 'static again' });
    await worker.reported(back.releaseId, 'proven', 20_000);
    expect(await get()).toBe('static again');
    await waitUntil(() => (worker.status()?.delivery === 'hot-restart' ? true : null), { timeoutMs: 4000, everyMs: 5 });
    expect(worker.status()?.delivery).toBe('hot-restart');
    const again = await worker.pushLive({ upserts: [scope('live again')] });
    await worker.reported(again.releaseId, 'proven', 20_000);
    expect(await get()).toBe('live again');
    const result = await load.stop();
    expect({ lost: result.lost.slice(0, 3), count: lostCount(result) }).toEqual({ lost: [], count: 0 });
    expect(envoys.map(({ epoch }) => epoch)).toEqual([0, 1, 2, 3]);
  });
});

describe('a port that is taken', () => {
  it('is waited for, said so, and taken when it is free', async () => {
    const squatter = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => squatter.listen(node.port, '127.0.0.1', resolve));
    await start();
    const { releaseId } = await worker.pushLive({ upserts: [scope('one')] });
    try {
      expect(await worker.reported(releaseId, 'waiting')).toMatchObject({
        code: 'listener_refused',
        detail: expect.stringContaining('in use'),
      });
    } finally {
      await new Promise((resolve) => squatter.close(resolve));
    }
    await worker.reported(releaseId, 'proven', 30_000);
    expect(await get()).toBe('one');
  });
});
