import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { afterEach, expect, jest, test } from '@jest/globals';

import { createNode } from '#platform/envoy/envoy.fixture.js';
import { findEpochs } from '#platform/envoy/launcher.js';

import { startTestWorker, TOKEN } from '../../apps/agent/src/worker.fixture.js';
import { lostCount, startLoad } from '../load/load-client.js';
import { describeWhere } from '../support/describe-where.js';
import { checkout } from '../support/dev-harness.js';
import { eventually } from '../support/eventually.js';

jest.setTimeout(240_000);

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const noGo = spawnSync('go', ['version']).error === undefined ? undefined : 'there is no Go on PATH';

/** Built anew each time: that takes a second or two. */
function buildLauncher(): string {
  const folder = mkdtempSync(join(tmpdir(), 'chancery-launcher-'));
  cleanups.push(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'launcher');
  execFileSync('go', ['build', '-trimpath', '-o', path, '.'], {
    cwd: join(checkout, 'deploy/launcher'),
    env: { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-mod=mod' },
  });
  return path;
}

interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<number | string>;
  /** The newest Envoy, as the agent says. */
  envoy(): number | undefined;
}

function start(launcher: string, env: Readonly<Record<string, string>>): Started {
  const main = join(checkout, 'dist/apps/agent/src/main.js');
  const child = spawn(launcher, ['run', process.execPath, main], { env, stdio: ['ignore', 'pipe', 'ignore'] });
  let envoy: number | undefined;
  createInterface({ input: child.stdout as NonNullable<ChildProcess['stdout']> }).on('line', (line) => {
    const said = JSON.parse(line) as { event: string; pid: number };
    if (said.event === 'envoy') envoy = said.pid;
  });
  const ended = new Promise<number | string>((resolve) => child.once('exit', (code, signal) => resolve(signal ?? code ?? 'unknown')));
  cleanups.push(() => {
    child.kill('SIGKILL');
    return ended;
  });
  return { child, ended, envoy: () => envoy };
}

/** Its children, by pid, with the state that the kernel says. */
function childrenOf(pid: number): Map<number, string> {
  const children = new Map<number, string>();
  for (const entry of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const fields = readFileSync(`/proc/${entry}/stat`, 'latin1').split(') ').at(-1)?.split(' ') ?? [];
      if (fields[1] === String(pid)) children.set(Number(entry), fields[0] ?? '');
    } catch {
      // It has gone meanwhile.
    }
  }
  return children;
}

describeWhere(noGo, 'the launcher of the container', () => {
  test('its agent may die and Envoy serves on; Envoys that end are reaped; SIGTERM ends all of it', async () => {
    const node = await createNode();
    cleanups.push(() => node.dispose());
    const worker = await startTestWorker(node.port);
    cleanups.push(() => worker.close());
    const launcher = buildLauncher();
    const started = start(launcher, {
      CHANCERY_AGENT_LAUNCHER: launcher,
      ENVOY_PATH: node.binary,
      CHANCERY_AGENT_DATA: node.folder.path,
      CHANCERY_AGENT_HTTP_LISTEN: `127.0.0.1:${node.port}`,
      CHANCERY_AGENT_TOKEN: TOKEN,
      CHANCERY_AGENT_WORKER: `127.0.0.1:${worker.port}`,
      CHANCERY_AGENT_ENVOY_ON_EXIT: 'stop',
    });
    const parent = started.child.pid ?? 0;
    await worker.reported((await worker.push({ body: 'one', drainTimeS: 1, parentShutdownTimeS: 2 })).releaseId, 'proven', 60_000);
    const first = started.envoy() ?? 0;
    expect(childrenOf(parent).has(first)).toBe(true);

    const load = startLoad({ host: '127.0.0.1', port: node.port, path: '/', rate: 50, lanes: ['new', 'busy'] });
    const agent = [...childrenOf(parent).keys()].find((pid) => pid !== first) ?? 0;
    process.kill(agent, 'SIGKILL');
    await eventually('another agent', () => [...childrenOf(parent).keys()].some((pid) => pid !== first && pid !== agent));
    await eventually('it is heard', () => worker.session() !== undefined);
    expect(childrenOf(parent).get(first)).toMatch(/[SR]/);

    await worker.reported((await worker.push({ body: 'two', drainTimeS: 1, parentShutdownTimeS: 2 })).releaseId, 'proven', 60_000);
    const second = started.envoy() ?? 0;
    expect(second).not.toBe(first);
    await eventually('the first Envoy has gone, and is no zombie', () => !childrenOf(parent).has(first));
    expect(childrenOf(parent).size).toBe(2);
    const result = await load.stop();
    expect({ lost: result.lost.slice(0, 3), count: lostCount(result) }).toEqual({ lost: [], count: 0 });

    started.child.kill('SIGTERM');
    expect(await started.ended).toBe(0);
    expect(await findEpochs(node.folder.path)).toEqual([]);
  });
});
