import { readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { readAgentConfig } from '#platform/config/agent-config.js';
import { type Bootstrap, createNode, type Node } from '#platform/envoy/envoy.fixture.js';
import { findEpochs } from '#platform/envoy/launcher.js';
import { identifyProcess, isRunning, signalProcess } from '#platform/envoy/process-identity.js';
import { ask } from '#platform/envoy/proof.js';
import { waitUntil } from '#platform/envoy/wait-until.js';
import { createLog } from '#platform/log/log.js';
import { type RunningAgent, startAgent } from './agent.js';
import { startTestWorker, type TestWorker, TOKEN } from './worker.fixture.js';

jest.setTimeout(60_000);

let node: Node;
let worker: TestWorker;
let agents: RunningAgent[];
beforeEach(async () => {
  node = await createNode();
  worker = await startTestWorker(node.port);
  agents = [];
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
    onEnvoy: options.onEnvoy ?? (() => {}),
  });
  agents.push(agent);
  return agent;
}

async function stop(agent: RunningAgent, envoy: 'keep' | 'stop'): Promise<void> {
  agents.splice(agents.indexOf(agent), 1);
  await agent.stop(envoy);
}

const get = async () => (await ask({ host: '127.0.0.1', port: node.port, path: '/', headers: {} })).body;
const served = (body: string) => waitUntil(async () => ((await get()) === body ? true : null), { timeoutMs: 10_000, everyMs: 5 });
const stepsOf = (releaseId: string) => worker.reports.filter((report) => report.releaseId === releaseId).map(({ step }) => step);

describe('an agent with its worker', () => {
  it('brings a first release live and proves it, then the next by a hot restart', async () => {
    const envoys: { pid: number; epoch: number }[] = [];
    await start({ onEnvoy: (envoy) => envoys.push(envoy) });
    const first = await worker.push({ body: 'one' });
    expect(first.kind).toBe('acknowledged');
    await worker.reported(first.releaseId, 'proven');
    expect(await get()).toBe('one');
    const second = await worker.push({ body: 'two' });
    await worker.reported(second.releaseId, 'proven');
    expect(await get()).toBe('two');
    expect(stepsOf(second.releaseId)).toEqual(['accepted', 'checked', 'validated', 'shadow_booted', 'restarting', 'restarted', 'proven']);
    expect(await worker.reported(second.releaseId, 'restarted')).toMatchObject({ epochFrom: 0, epochTo: 1 });
    expect(envoys.map(({ epoch }) => epoch)).toEqual([0, 1]);
    expect(
      await waitUntil(() => (worker.status()?.provenRelease === second.releaseId ? true : null), { timeoutMs: 3000, everyMs: 5 }),
    ).toBe(true);
    expect(worker.status()).toMatchObject({ epoch: 1, appliedRelease: second.releaseId, error: '', envoyPid: envoys[1]?.pid });
  });

  it('makes at most two restarts of a hundred changes in a second, and the newest is live in the end', async () => {
    await start();
    await worker.reported((await worker.push({ body: '0' })).releaseId, 'proven');
    const before = worker.reports.length;
    const pushed: { releaseId: string }[] = [];
    const startedAt = performance.now();
    for (let n = 1; n <= 100; n++) {
      pushed.push(await worker.push({ body: String(n), parentShutdownTimeS: 5 }));
      await waitUntil(() => (performance.now() - startedAt >= n * 10 ? true : null), { timeoutMs: 100, everyMs: 1 });
    }
    expect(await served('100')).toBe(true);
    const last = pushed.at(-1)?.releaseId ?? '';
    await worker.reported(last, 'proven');
    const restarts = worker.reports.slice(before).filter(({ step }) => step === 'restarted');
    expect(restarts.length).toBeLessThanOrEqual(2);
    const restarted = new Set(restarts.map(({ releaseId }) => releaseId));
    // Each one that was not applied says what took its place.
    for (const { releaseId } of pushed) if (!restarted.has(releaseId)) expect(stepsOf(releaseId)).toContain('superseded');
  });

  it("refuses what Envoy refuses with Envoy's reason, keeps serving, and takes the next good one", async () => {
    await start();
    await worker.reported((await worker.push({ body: 'good' })).releaseId, 'proven');
    const bad = await worker.push({
      body: 'bad',
      bend: (bootstrap) => {
        const [virtualHost] = bootstrap.static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts;
        virtualHost.routes.push({ match: { prefix: '/x' }, route: { cluster: 'nowhere' } });
      },
    });
    expect(bad.kind).toBe('acknowledged');
    expect(await worker.reported(bad.releaseId, 'refused')).toMatchObject({
      code: 'envoy_refused',
      detail: expect.stringContaining('nowhere'),
    });
    expect(await get()).toBe('good');
    await waitUntil(() => ((worker.status()?.error ?? '') !== '' ? true : null), { timeoutMs: 3000, everyMs: 5 });
    expect(worker.status()?.error).toContain('nowhere');
    await worker.reported((await worker.push({ body: 'better' })).releaseId, 'proven');
    expect(await get()).toBe('better');
  });

  it('refuses what is not newer, and what names a file that was not sent', async () => {
    await start();
    await worker.reported((await worker.push({ body: 'one', version: 5 })).releaseId, 'proven');
    expect(await worker.push({ body: 'old', term: 0 })).toMatchObject({ kind: 'refused', message: expect.stringContaining('not_newer') });
    expect(await worker.push({ body: 'older', version: 4 })).toMatchObject({
      kind: 'refused',
      message: expect.stringContaining('version_lower'),
    });
    expect(await get()).toBe('one');
  });

  it('proves an equal render without a restart', async () => {
    await start();
    const first = await worker.push({ body: 'same' });
    await worker.reported(first.releaseId, 'proven');
    const second = await worker.push({ body: 'same' });
    await worker.reported(second.releaseId, 'proven');
    expect(stepsOf(second.releaseId)).toEqual(['accepted', 'endpoints_written', 'proven']);
    const forced = await worker.push({ body: 'same', force: true });
    expect(await worker.reported(forced.releaseId, 'restarted')).toMatchObject({ epochTo: 1 });
  });

  it('answers a validation', async () => {
    await start();
    await worker.reported((await worker.push({ body: 'one' })).releaseId, 'proven');
    const answer = await worker.session()?.validate(Buffer.from('{"admin": 1}'), 5000);
    expect(answer).toMatchObject({ ok: false, message: expect.stringContaining('admin.address') });
  });

  it('counts requests right across a hot restart', async () => {
    await start();
    await worker.reported((await worker.push({ body: 'one', bend: countOnAdmin })).releaseId, 'proven');
    for (let n = 0; n < 40; n++) await get();
    await worker.reported((await worker.push({ body: 'two', bend: countOnAdmin })).releaseId, 'proven');
    for (let n = 0; n < 40; n++) await get();
    const total = () => worker.stats.at(-1)?.envoy.find(({ name }) => name === 'http.ingress_http.downstream_rq_total')?.value ?? 0;
    // 80 of ours, and two proofs of at least 30 each.
    await waitUntil(() => (total() >= 140 ? true : null), { timeoutMs: 8000, everyMs: 20 });
    const proofs = worker.reports.filter(({ step }) => step === 'proven').reduce((sum, { detail }) => sum + Number.parseInt(detail, 10), 0);
    await waitUntil(() => (total() >= 80 + proofs ? true : null), { timeoutMs: 4000, everyMs: 20 });
    expect(total()).toBe(80 + proofs);
  });
});

describe('an agent on a machine that gets in its way', () => {
  let squatter: Server;
  beforeEach(() => {
    squatter = createServer();
  });
  afterEach(() => {
    squatter.close();
  });

  it('waits for a port that is taken, says so, and starts when it is free', async () => {
    await new Promise<void>((resolve) => squatter.listen(node.port, '127.0.0.1', resolve));
    await start();
    const { releaseId } = await worker.push({ body: 'one' });
    const waiting = await waitUntil(
      () => worker.reports.find((report) => report.step === 'waiting' && report.code === 'child_died') ?? null,
      { timeoutMs: 10_000, everyMs: 5 },
    );
    expect(waiting).toMatchObject({ releaseId, detail: expect.stringContaining('Address already in use') });
    await new Promise((resolve) => squatter.close(resolve));
    await worker.reported(releaseId, 'proven');
    expect(worker.status()?.error).toBe('');
  });

  it('refuses what it cannot store, and serves on', async () => {
    await start();
    await worker.reported((await worker.push({ body: 'one' })).releaseId, 'proven');
    // A file where the folder was: every write into it fails, as on a disk that is full or read-only.
    renameSync(node.folder.releases, `${node.folder.releases}.away`);
    writeFileSync(node.folder.releases, '');
    expect(await worker.push({ body: 'two' })).toMatchObject({ kind: 'refused', message: expect.stringContaining('not_stored') });
    expect(await get()).toBe('one');
    rmSync(node.folder.releases);
    renameSync(`${node.folder.releases}.away`, node.folder.releases);
    await worker.reported((await worker.push({ body: 'three' })).releaseId, 'proven');
    expect(await get()).toBe('three');
  });

  it('goes back to what was proven when a release serves, but not what it says', async () => {
    await start();
    await worker.reported((await worker.push({ body: 'good' })).releaseId, 'proven');
    // Its marker stands on the shadow's loopback address alone: the gate is passed, the real listener does not answer right.
    const bad = await worker.push({ body: 'bad', bend: onlyOnOtherPorts(node.port) });
    expect(await worker.reported(bad.releaseId, 'failed', 20_000)).toMatchObject({ code: 'proof_missing' });
    expect(await served('good')).toBe(true);
    await worker.reported((await worker.push({ body: 'next' })).releaseId, 'proven', 20_000);
  });

  it('records a restart that was forced while the parent drained as a cut', async () => {
    await start();
    await worker.reported((await worker.push({ body: 'one' })).releaseId, 'proven');
    const slow = { drainTimeS: 10, parentShutdownTimeS: 20 };
    await worker.reported((await worker.push({ body: 'two', ...slow })).releaseId, 'proven');
    const forced = await worker.push({ body: 'three', force: true, ...slow });
    await worker.reported(forced.releaseId, 'cut');
    await worker.reported(forced.releaseId, 'proven');
    expect(await get()).toBe('three');
  });

  it('gives a release up under which Envoy dies again and again, and serves the one before', async () => {
    let killed = 0;
    await start({
      onEnvoy: ({ pid }) => {
        if (!readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('0000000002.json')) return;
        process.kill(pid, 'SIGKILL');
        killed += 1;
      },
    });
    await worker.reported((await worker.push({ body: 'one' })).releaseId, 'proven');
    const { releaseId } = await worker.push({ body: 'two' });
    expect(await worker.reported(releaseId, 'failed', 40_000)).toMatchObject({ code: 'envoy_died' });
    expect(killed).toBeGreaterThanOrEqual(3);
    expect(await served('one')).toBe(true);
  });
});

describe('an agent without its worker', () => {
  it('starts Envoy from disk', async () => {
    const agent = await start();
    await worker.reported((await worker.push({ body: 'one' })).releaseId, 'proven');
    await stop(agent, 'stop');
    expect(await findEpochs(node.folder.path)).toEqual([]);
    await start({ worker: 1 });
    expect(await get()).toBe('one');
  });

  it('starts the release before, when the newest is torn', async () => {
    const agent = await start();
    await worker.reported((await worker.push({ body: 'one' })).releaseId, 'proven');
    await worker.reported((await worker.push({ body: 'two' })).releaseId, 'proven');
    await stop(agent, 'stop');
    const newest = readdirSync(node.folder.releases).sort().at(-1) ?? '';
    truncateSync(join(node.folder.releases, newest), 500);
    await start({ worker: 1 });
    expect(await get()).toBe('one');
  });

  it('starts Envoy again when it is killed, again and again', async () => {
    const pids: number[] = [];
    await start({ onEnvoy: ({ pid }) => pids.push(pid) });
    const { releaseId } = await worker.push({ body: 'one' });
    await worker.reported(releaseId, 'proven');
    for (let n = 0; n < 3; n++) {
      const envoy = await waitUntil(() => identifyProcess(pids.at(-1) ?? 0), { timeoutMs: 5000, everyMs: 2 });
      if (envoy === null) throw new Error('no Envoy');
      signalProcess(envoy, 'SIGKILL');
      expect(await waitUntil(() => (isRunning(envoy) ? null : true), { timeoutMs: 2000, everyMs: 2 })).toBe(true);
      expect(await served('one')).toBe(true);
    }
    await worker.reported(releaseId, 'recovered');
    await worker.reported((await worker.push({ body: 'two' })).releaseId, 'proven');
  });

  it('leaves Envoy serving, and the next agent adopts it and refuses what this one has fenced', async () => {
    const agent = await start();
    const { releaseId } = await worker.push({ body: 'one' });
    await worker.reported(releaseId, 'proven');
    const [before] = await findEpochs(node.folder.path);
    await stop(agent, 'keep');
    expect(await get()).toBe('one');
    await start();
    await worker.reported(releaseId, 'adopted');
    const [after] = await findEpochs(node.folder.path);
    expect(after?.process).toEqual(before?.process);
    expect(await worker.push({ body: 'old', term: 0 })).toMatchObject({ kind: 'refused' });
    await worker.reported((await worker.push({ body: 'two' })).releaseId, 'proven');
    expect(await get()).toBe('two');
  });

  it('keeps its reports until a worker takes them', async () => {
    let live = 0;
    const agent = await start({
      onEnvoy: ({ pid }) => {
        live = pid;
      },
    });
    await worker.reported((await worker.push({ body: 'one' })).releaseId, 'proven');
    await worker.close();
    const envoy = identifyProcess(live); // the status that names it may come after the report
    if (envoy === null) throw new Error('no Envoy');
    signalProcess(envoy, 'SIGKILL');
    expect(await waitUntil(() => (live === envoy.pid ? null : true), { timeoutMs: 20_000, everyMs: 2 })).toBe(true);
    expect(await get()).toBe('one');
    await stop(agent, 'keep');
    worker = await startTestWorker(node.port);
    await start();
    expect(
      await waitUntil(() => worker.reports.find(({ step }) => step === 'recovered') ?? null, { timeoutMs: 20_000, everyMs: 5 }),
    ).not.toBeNull();
  });

  it('does not share its folder with another agent', async () => {
    await start();
    await expect(start()).rejects.toThrow(/Another agent works on .*"pid":\d+/);
  });
});

/** Counters are handed to the next epoch from the last flush on; flushed when they are read, nothing is counted twice. */
function countOnAdmin(bootstrap: { stats_flush_on_admin?: boolean }): void {
  bootstrap.stats_flush_on_admin = true;
}

/** Routes that answer the marker wrong where the Host header names this port, as the real listener's proof does. */
function onlyOnOtherPorts(port: number) {
  return (bootstrap: Bootstrap): void => {
    const { route_config } = bootstrap.static_resources.listeners[0].filter_chains[0].filters[0].typed_config;
    route_config.virtual_hosts.push({
      name: 'real',
      domains: [`127.0.0.1:${port}`],
      routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'bad' } } }],
    });
  };
}
