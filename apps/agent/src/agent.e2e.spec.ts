import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { createNode, type Node } from '#platform/envoy/envoy.fixture.js';
import { findEpochs } from '#platform/envoy/launcher.js';
import { ask } from '#platform/envoy/proof.js';
import { waitUntil } from '#platform/envoy/wait-until.js';
import { lostCount, startLoad } from '../../../test/load/load-client.js';
import { liveBootstrap, liveScope } from './live.fixture.js';
import { startTestWorker, type TestWorker, TOKEN } from './worker.fixture.js';

jest.setTimeout(120_000);

const MAIN = join(import.meta.dirname, '../../../dist/apps/agent/src/main.js');

interface AgentProcess {
  readonly child: ChildProcess;
  readonly lines: { event?: string; pid?: number; epoch?: number; envoy?: number }[];
  readonly ended: Promise<number | string>;
  readonly stderr: () => string;
}

let node: Node;
let worker: TestWorker;
let failpoints: string;
let agents: AgentProcess[];
beforeEach(async () => {
  if (!existsSync(MAIN)) throw new Error(`${MAIN} is missing: npm run build`);
  node = await createNode();
  worker = await startTestWorker(node.port);
  failpoints = mkdtempSync(join(tmpdir(), 'chancery-failpoints-'));
  agents = [];
});
afterEach(async () => {
  for (const { child } of agents) child.kill('SIGKILL');
  await Promise.all(agents.map(({ ended }) => ended));
  await worker.close();
  await node.dispose();
  rmSync(failpoints, { recursive: true, force: true });
});

function startProcess(words: readonly string[] = []): AgentProcess {
  const child = spawn(process.execPath, [MAIN, ...words], {
    env: {
      PATH: process.env.PATH,
      ENVOY_PATH: node.binary,
      CHANCERY_AGENT_DATA: node.folder.path,
      CHANCERY_AGENT_HTTP_LISTEN: `127.0.0.1:${node.port}`,
      CHANCERY_AGENT_TOKEN: TOKEN,
      CHANCERY_AGENT_WORKER: `127.0.0.1:${worker.port}`,
      CHANCERY_FAILPOINT_DIR: failpoints,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const lines: AgentProcess['lines'] = [];
  let stderr = '';
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(JSON.parse(line)));
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const ended = new Promise<number | string>((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal ?? 'unknown')));
  const agent = { child, lines, ended, stderr: () => stderr };
  agents.push(agent);
  return agent;
}

const get = async () => (await ask({ host: '127.0.0.1', port: node.port, path: '/', headers: {} })).body;

describe('the process', () => {
  it('says when Envoy is live, and which process it is, again after each restart', async () => {
    const agent = startProcess();
    await worker.reported((await worker.push({ body: 'one' })).releaseId, 'proven');
    await worker.reported((await worker.push({ body: 'two' })).releaseId, 'proven');
    const [first, second] = agent.lines.filter(({ event }) => event === 'envoy');
    expect([first?.epoch, second?.epoch]).toEqual([0, 1]);
    expect(agent.lines.find(({ event }) => event === 'ready')).toEqual({ event: 'ready', envoy: first?.pid });
    expect((await findEpochs(node.folder.path)).at(-1)?.process.pid).toBe(second?.pid);
  });

  it('ends on SIGTERM with 0 and leaves Envoy serving; with --envoy-on-exit=stop nothing is left', async () => {
    const first = startProcess();
    await worker.reported((await worker.push({ body: 'one' })).releaseId, 'proven');
    first.child.kill('SIGTERM');
    expect(await first.ended).toBe(0);
    expect(await get()).toBe('one');
    const second = startProcess(['--envoy-on-exit=stop']);
    expect(
      await waitUntil(() => (second.lines.some(({ event }) => event === 'ready') ? true : null), { timeoutMs: 8000, everyMs: 5 }),
    ).toBe(true);
    second.child.kill('SIGTERM');
    expect(await second.ended).toBe(0);
    expect(await findEpochs(node.folder.path)).toEqual([]);
  });

  it('names a variable that is wrong, and does not start', async () => {
    const agent = startProcess(['--no-such-word']);
    expect(await agent.ended).toBe(1);
    expect(agent.stderr()).toContain('--no-such-word');
  });
});

const PLACES = ['afterManifestWritten', 'beforeFork', 'afterFork', 'afterChildLive', 'beforeProof', 'beforeReportSent'];

describe.each(['kill', 'stop'] as const)('hit by %s', (action) => {
  it.each(PLACES)('at %s, nothing is lost and the newest release is proven in the end', async (place) => {
    let agent = startProcess();
    await worker.reported((await worker.push({ body: 'one' })).releaseId, 'proven');
    const load = startLoad({ host: '127.0.0.1', port: node.port, path: '/', rate: 100, lanes: ['new', 'busy'] });
    const armed = join(failpoints, `agent.${place}`);
    writeFileSync(armed, action);
    const pushed = worker.push({ body: 'two' });
    expect(await waitUntil(() => (existsSync(`${armed}.reached`) ? true : null), { timeoutMs: 10_000, everyMs: 2 })).toBe(true);
    if (action === 'kill') {
      expect(await agent.ended).toBe('SIGKILL');
      agent = startProcess();
    } else {
      // Longer than a probe and than the window of the last restart; the connection is kept, so the worker sees a slow agent.
      await waitUntil(() => null, { timeoutMs: 3000, everyMs: 100 });
      agent.child.kill('SIGCONT');
    }
    const outcome = await pushed;
    // Whether a killed agent had accepted it is unknown to the worker; then it pushes again.
    const held = action === 'kill' && outcome.kind !== 'acknowledged' ? await worker.push({ body: 'two' }) : outcome;
    await worker.reported(held.releaseId, 'proven', 30_000);
    expect(await get()).toBe('two');
    const result = await load.stop();
    expect({ lost: result.lost.slice(0, 3), count: lostCount(result) }).toEqual({ lost: [], count: 0 });
    expect(result.sent).toBeGreaterThan(50);
  });
});

describe.each(['kill', 'stop'] as const)('delivered live and hit by %s', (action) => {
  const scope = (body: string) => liveScope('a', { body });

  async function strike(place: string, change: Parameters<TestWorker['pushLive']>[0]): Promise<{ pids: readonly number[] }> {
    let agent = startProcess();
    await worker.reported((await worker.pushLive({ upserts: [scope('one')] })).releaseId, 'proven');
    const load = startLoad({ host: '127.0.0.1', port: node.port, path: '/a', rate: 100, lanes: ['new', 'busy'] });
    const armed = join(failpoints, `agent.${place}`);
    writeFileSync(armed, action);
    const pushed = worker.pushLive(change);
    expect(await waitUntil(() => (existsSync(`${armed}.reached`) ? true : null), { timeoutMs: 10_000, everyMs: 2 })).toBe(true);
    if (action === 'kill') {
      expect(await agent.ended).toBe('SIGKILL');
      agent = startProcess();
    } else {
      await waitUntil(() => null, { timeoutMs: 3000, everyMs: 100 });
      agent.child.kill('SIGCONT');
    }
    const outcome = await pushed;
    const held = outcome.kind === 'acknowledged' ? outcome : await worker.pushLive(change);
    await worker.reported(held.releaseId, 'proven', 30_000);
    expect((await ask({ host: '127.0.0.1', port: node.port, path: '/a', headers: {} })).body).toBe('two');
    const result = await load.stop();
    expect({ lost: result.lost.slice(0, 3), count: lostCount(result) }).toEqual({ lost: [], count: 0 });
    expect(result.sent).toBeGreaterThan(50);
    return {
      pids: agents.flatMap(({ lines }) => lines.flatMap(({ event, pid }) => (event === 'envoy' && pid !== undefined ? [pid] : []))),
    };
  }

  it.each(['afterLiveWritten', 'afterLiveRelayed', 'beforeProof', 'beforeReportSent'])(
    'at %s, no Envoy is started and nothing is lost',
    async (place) => {
      const { pids } = await strike(place, { upserts: [scope('two')] });
      expect(new Set(pids).size).toBe(1);
    },
  );

  it.each(['afterLiveWritten', 'beforeFork', 'afterFork', 'afterChildLive'])(
    'at %s with another bootstrap, nothing is lost',
    async (place) => {
      await strike(place, { upserts: [scope('two')], bootstrap: liveBootstrap({ cluster: 'other' }), parentShutdownTimeS: 5 });
    },
  );
});
