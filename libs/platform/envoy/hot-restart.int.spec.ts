import { chmodSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { type Bootstrap, createNode, muteServer, type Node, waitForever } from './envoy.fixture.js';
import { configFile } from './epoch-start.js';
import type { EnvoySupervisor } from './hot-restart.js';
import { findEpochs, launchEpoch } from './launcher.js';
import { isRunning, signalProcess } from './process-identity.js';
import { ask } from './proof.js';
import { clearInitializingFlag, readInitializingFlag, removeSharedMemory, sharedMemoryExists, sharedMemoryPath } from './shared-memory.js';
import { waitUntil } from './wait-until.js';

jest.setTimeout(60_000);

let node: Node;
beforeEach(async () => {
  node = await createNode();
});
afterEach(async () => {
  await node.dispose();
});

const serves = () => ask({ host: '127.0.0.1', port: node.port, path: '/', headers: {} });
const right = (body: string) => ({ status: 200, body });

/** A supervisor with epoch 0 live on configuration `good`. */
async function started(options: Parameters<Node['supervisor']>[0] = {}) {
  const supervisor = node.supervisor(options);
  const good = node.config('good');
  const live = await supervisor.start([good]);
  return { supervisor, good, live };
}

async function parentGone(supervisor: EnvoySupervisor): Promise<void> {
  expect(await waitUntil(() => (supervisor.parent === null ? true : null), { timeoutMs: 8000, everyMs: 10 })).toBe(true);
}

describe('a hot restart on the real Envoy', () => {
  it('goes from epoch to epoch, one at a time, with the admin on one Unix socket of mode 0600', async () => {
    const { supervisor, live } = await started();
    expect(live.epoch).toBe(0);
    expect(await serves()).toEqual(right('good'));
    for (const key of ['b', 'c']) {
      expect(await supervisor.restart(node.config(key), { fallbacks: [] })).toMatchObject({ kind: 'live', cut: false });
      expect(statSync(node.folder.adminSocket).mode & 0o777).toBe(0o600);
      await expect(supervisor.restart(node.config('x'), { fallbacks: [] })).rejects.toThrow('still drains');
      await parentGone(supervisor);
      expect(await serves()).toEqual(right(key));
    }
    expect(supervisor.live?.epoch).toBe(2);
    await supervisor.stop({ graceMs: 0 });
    expect((await serves()).status).toBeNull();
    expect(await findEpochs(node.folder.path)).toEqual([]);
    expect(sharedMemoryExists(live.baseId)).toBe(false);
  });

  it.each<[string, () => string | null]>([
    ['broken JSON', () => '{"admin": '],
    ['a missing file', () => null],
    ['an unknown field', () => '{"no_such_field": 1}'],
    ['a failed constraint', () => '{"static_resources": {"clusters": [{"name": "", "connect_timeout": "1s"}]}}'],
    ['an empty file', () => ''],
  ])('refuses a child with %s: the parent serves, its admin too, and the next restart takes the same number', async (_what, bytes) => {
    const { supervisor, live, good } = await started();
    const content = bytes();
    const bad = content === null ? { key: 'missing', drainTimeS: 1, parentShutdownTimeS: 2 } : node.rawConfig('bad', content);
    const outcome = await supervisor.restart(bad, { fallbacks: [good] });
    expect(outcome).toMatchObject({ kind: 'refused', code: 'child_died', healed: null, adminLost: false });
    expect(outcome).toHaveProperty('message', expect.stringMatching(/\S/));
    expect(await serves()).toEqual(right('good'));
    expect((await supervisor.admin.serverInfo()).restartEpoch).toBe(0);
    expect(readInitializingFlag(live.baseId)).toBe('clear');
    expect(await supervisor.restart(node.config('next'), { fallbacks: [good] })).toMatchObject({ kind: 'live', live: { epoch: 1 } });
    expect(await serves()).toEqual(right('next'));
  });

  const route = (bootstrap: Bootstrap) => {
    const [virtualHost] = bootstrap.static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts;
    return virtualHost.routes[0];
  };
  it.each<[string, (bootstrap: Bootstrap) => unknown]>([
    ['an unknown cluster', (bootstrap) => Object.assign(route(bootstrap), { direct_response: undefined, route: { cluster: 'nowhere' } })],
    ['a bad regex', (bootstrap) => Object.assign(route(bootstrap), { match: { safe_regex: { regex: '(' } } })],
  ])('heals after a child that is refused late (%s) and took the admin with it', async (_what, bend) => {
    const { supervisor, good } = await started();
    const bad = node.config('bad', {
      change: (bootstrap) => {
        bend(bootstrap);
      },
    });
    const outcome = await supervisor.restart(bad, { fallbacks: [good] });
    expect(outcome).toMatchObject({ kind: 'refused', code: 'child_died', adminLost: false, healed: { epoch: 1, config: { key: 'good' } } });
    expect(outcome).toHaveProperty('message', expect.stringMatching(/nowhere|regex|missing/i));
    expect(await serves()).toEqual(right('good'));
    expect((await supervisor.admin.serverInfo()).restartEpoch).toBe(1);
    await parentGone(supervisor);
    expect(await supervisor.restart(node.config('next'), { fallbacks: [good] })).toMatchObject({ kind: 'live', live: { epoch: 2 } });
  });

  it('heals after a child whose new port is taken', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    try {
      const { supervisor, good } = await started();
      const { port } = taken.address() as { port: number };
      const bad = node.config('bad', {
        change: (bootstrap) => {
          bootstrap.static_resources.listeners.push({
            ...structuredClone(bootstrap.static_resources.listeners[0]),
            name: 'second',
            address: { socket_address: { address: '127.0.0.1', port_value: port } },
          });
        },
      });
      const outcome = await supervisor.restart(bad, { fallbacks: [good] });
      expect(outcome).toMatchObject({ kind: 'refused', healed: { epoch: 1 } });
      expect(await serves()).toEqual(right('good'));
    } finally {
      taken.close();
    }
  });

  it('kills a child that hangs in initialization with SIGKILL: the parent serves, and the same number heals the admin', async () => {
    const mute = await muteServer();
    try {
      const { supervisor, good } = await started({ liveTimeoutMs: 1500 });
      const outcome = await supervisor.restart(node.config('hangs', { change: (bootstrap) => waitForever(bootstrap, mute.port) }), {
        fallbacks: [good],
      });
      expect(outcome).toMatchObject({ kind: 'refused', code: 'child_timeout', healed: { epoch: 1, config: { key: 'good' } } });
      expect(await serves()).toEqual(right('good'));
    } finally {
      mute.close();
    }
  });

  it('ends with its parent: the child of a killed one would wait for ever', async () => {
    const { supervisor, live, good } = await started();
    const mute = await muteServer();
    try {
      const restart = supervisor.restart(node.config('hangs', { change: (bootstrap) => waitForever(bootstrap, mute.port) }), {
        fallbacks: [good],
      });
      expect(
        await waitUntil(async () => ((await findEpochs(node.folder.path)).length === 2 ? true : null), { timeoutMs: 5000, everyMs: 2 }),
      ).toBe(true);
      await kill(live.process);
      expect(await restart).toMatchObject({ kind: 'refused', code: 'parent_died' });
      expect(await findEpochs(node.folder.path)).toEqual([]);
      expect(await supervisor.start([good])).toMatchObject({ epoch: 2 });
      expect(await serves()).toEqual(right('good'));
    } finally {
      mute.close();
    }
  });

  it('is recorded as a cut when it is forced while the grandparent drains, which ends the grandparent at once', async () => {
    const { supervisor, live } = await started();
    const slow = { drainTimeS: 10, parentShutdownTimeS: 20 };
    await supervisor.restart(node.config('b', slow), { fallbacks: [] });
    expect(isRunning(live.process)).toBe(true);
    expect(await supervisor.restart(node.config('c', slow), { fallbacks: [], force: true })).toMatchObject({
      kind: 'live',
      cut: true,
      live: { epoch: 2 },
    });
    expect(await waitUntil(() => (isRunning(live.process) ? null : true), { timeoutMs: 3000, everyMs: 10 })).toBe(true);
    expect(await serves()).toEqual(right('c'));
  });
});

describe('after a death', () => {
  it('starts the same number again when the live epoch dies while its parent drains', async () => {
    const { supervisor } = await started();
    const next = node.config('next', { drainTimeS: 5, parentShutdownTimeS: 10 });
    const outcome = await supervisor.restart(next, { fallbacks: [] });
    if (outcome.kind !== 'live') throw new Error('not live');
    signalProcess(outcome.live.process, 'SIGKILL');
    expect(await waitUntil(() => (supervisor.live === null ? true : null), { timeoutMs: 2000, everyMs: 2 })).toBe(true);
    const again = await supervisor.start([next]);
    expect(again.epoch).toBe(1);
    expect(again.baseId).toBe(outcome.live.baseId);
    expect(await serves()).toEqual(right('next'));
  });

  it('continues the lineage when nobody is left, and begins a new one when its shared memory is gone', async () => {
    const { supervisor, live, good } = await started();
    await kill(live.process);
    const second = await supervisor.start([good]);
    expect(second).toMatchObject({ baseId: live.baseId, epoch: 1 });
    expect(await serves()).toEqual(right('good'));
    await kill(second.process);
    removeSharedMemory(live.baseId);
    const third = await supervisor.start([good]);
    expect(third.epoch).toBe(0);
    expect(third.baseId).not.toBe(live.baseId);
    expect(await serves()).toEqual(right('good'));
  });

  it('starts the older configuration when the newer one does not come up, and says why when none does', async () => {
    const supervisor = node.supervisor();
    const live = await supervisor.start([node.rawConfig('bad', '{'), node.config('old')]);
    expect(live.config.key).toBe('old');
    const other = await createNode();
    try {
      await expect(other.supervisor().start([other.rawConfig('bad', '{')])).rejects.toThrow(/bad as epoch 0: .*JSON/is);
    } finally {
      await other.dispose();
    }
  });

  it('stops with the lineage while the parent drains: both exit', async () => {
    const { supervisor, live } = await started();
    await supervisor.restart(node.config('next', { drainTimeS: 10, parentShutdownTimeS: 20 }), { fallbacks: [] });
    await supervisor.stop({ graceMs: 0 });
    expect(isRunning(live.process)).toBe(false);
    expect(await findEpochs(node.folder.path)).toEqual([]);
  });
});

describe('a new supervisor', () => {
  it('adopts what serves, and goes on with the next epoch', async () => {
    const { live } = await started({ concurrency: 1 });
    const heir = node.supervisor({ concurrency: 2 });
    expect(await heir.adopt([])).toMatchObject({ kind: 'adopted', live: { epoch: 0, process: live.process, config: { key: 'good' } } });
    expect(await heir.restart(node.config('next'), { fallbacks: [] })).toMatchObject({ kind: 'live', live: { epoch: 1 } });
    // The lineage keeps its number of workers whatever the heir was told: fewer would drop connections.
    expect((await heir.admin.serverInfo()).concurrency).toBe(1);
    expect(await serves()).toEqual(right('next'));
  });

  it('finds the parent that still drains', async () => {
    const { supervisor, live } = await started();
    await supervisor.restart(node.config('next'), { fallbacks: [] });
    const heir = node.supervisor();
    expect(await heir.adopt([])).toMatchObject({ kind: 'adopted', live: { epoch: 1 } });
    expect(heir.parent?.process).toEqual(live.process);
    await parentGone(heir);
  });

  it('adopts a child that its dead supervisor never saw come up', async () => {
    const { live, good } = await started();
    await launch(live.baseId, 1, node.config('next').key);
    const heir = node.supervisor();
    expect(await heir.adopt([good])).toMatchObject({ kind: 'adopted', live: { epoch: 1, config: { key: 'next' } } });
    expect(await serves()).toEqual(right('next'));
  });

  it('ends a child that never comes up and heals the parent it was started beside', async () => {
    const mute = await muteServer();
    try {
      const { live, good } = await started();
      await launch(live.baseId, 1, node.config('hangs', { change: (bootstrap) => waitForever(bootstrap, mute.port) }).key);
      const heir = node.supervisor({ liveTimeoutMs: 1500 });
      expect(await heir.adopt([good])).toMatchObject({ kind: 'healed', live: { epoch: 1, config: { key: 'good' } } });
      expect(await serves()).toEqual(right('good'));
    } finally {
      mute.close();
    }
  });

  it('heals a parent whose child died after it had taken the admin', async () => {
    const { live, good } = await started();
    const bad = node.config('bad', {
      change: (bootstrap) => {
        bootstrap.static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0] = {
          match: { prefix: '/' },
          route: { cluster: 'nowhere' },
        };
      },
    });
    const child = await launch(live.baseId, 1, bad.key);
    expect(await waitUntil(() => (isRunning(child) ? null : true), { timeoutMs: 5000, everyMs: 5 })).toBe(true);
    expect(readInitializingFlag(live.baseId)).toBe('set');
    const heir = node.supervisor();
    expect(await heir.adopt([good])).toMatchObject({ kind: 'healed', live: { epoch: 1, config: { key: 'good' } } });
    expect(await serves()).toEqual(right('good'));
  });

  it('says that nothing runs when nothing does', async () => {
    expect(await node.supervisor().adopt([])).toEqual({ kind: 'none' });
  });
});

/** What the state machine is built on: should a later Envoy behave otherwise, these say so first. */
describe('Envoy itself', () => {
  it('leaves the initializing flag set when a child dies, refuses every later child, and is cured by clearing it', async () => {
    const { live } = await started();
    const dies = await launch(live.baseId, 1, node.rawConfig('bad', '{').key);
    await ended(dies);
    expect(readInitializingFlag(live.baseId)).toBe('set');
    const refused = await launch(live.baseId, 1, node.config('next').key);
    await ended(refused);
    expect(clearInitializingFlag(live.baseId)).toBe('set');
    const cured = await launch(live.baseId, 1, 'next');
    expect(await waitUntil(async () => ((await serves()).body === 'next' ? true : null), { timeoutMs: 5000, everyMs: 5 })).toBe(true);
    expect(isRunning(cured)).toBe(true);
  });

  it('aborts a child with the next number but one, and the traffic is unharmed', async () => {
    const { live } = await started();
    await ended(await launch(live.baseId, 2, node.config('next').key), 20_000);
    expect(await serves()).toEqual(right('good'));
  });

  it('ends the parent too when a child that is not live gets SIGTERM', async () => {
    const mute = await muteServer();
    try {
      const { live, supervisor } = await started();
      const child = await launch(live.baseId, 1, node.config('hangs', { change: (bootstrap) => waitForever(bootstrap, mute.port) }).key);
      const initializing = async () => ((await supervisor.admin.serverInfo()).restartEpoch === 1 ? true : null);
      expect(await waitUntil(() => initializing().catch(() => null), { timeoutMs: 5000, everyMs: 5 })).toBe(true);
      signalProcess(child, 'SIGTERM');
      await ended(live.process);
    } finally {
      mute.close();
    }
  });

  it('refuses a second epoch 0 with the same base id and leaves the first alone', async () => {
    const { live } = await started();
    await ended(await launch(live.baseId, 0, node.config('next').key));
    expect(await serves()).toEqual(right('good'));
    expect((await node.supervisor().admin.serverInfo()).restartEpoch).toBe(0);
  });

  it('closes idle keep-alive connections at the end of the window at the latest', async () => {
    const noIdleTimeout = (bootstrap: Bootstrap) => {
      bootstrap.static_resources.listeners[0].filter_chains[0].filters[0].typed_config.common_http_protocol_options = undefined;
    };
    const supervisor = node.supervisor();
    await supervisor.start([node.config('a', { change: noIdleTimeout })]);
    const socket = connect({ host: '127.0.0.1', port: node.port });
    let closedAt = 0;
    socket.on('close', () => {
      closedAt = performance.now();
    });
    socket.on('data', () => {});
    socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
    await waitUntil(() => (socket.bytesRead > 0 ? true : null), { timeoutMs: 2000, everyMs: 5 });
    const restartedAt = performance.now();
    await supervisor.restart(node.config('b', { change: noIdleTimeout }), { fallbacks: [] });
    await parentGone(supervisor);
    expect(await waitUntil(() => (closedAt > 0 ? true : null), { timeoutMs: 1000, everyMs: 5 })).toBe(true);
    expect(closedAt - restartedAt).toBeGreaterThan(1000);
  });
});

describe('the guards', () => {
  it('leave a shared memory of another size or version alone', () => {
    const baseId = 399_999_999;
    const path = sharedMemoryPath(baseId);
    try {
      for (const bytes of [Buffer.alloc(50, 1), Buffer.alloc(104, 1)]) {
        writeFileSync(path, bytes);
        chmodSync(path, 0o600);
        expect(clearInitializingFlag(baseId)).toBe('unknown layout');
      }
    } finally {
      rmSync(path, { force: true });
    }
    expect(clearInitializingFlag(baseId)).toBe('absent');
  });

  it('never signal a process that only has the same number', () => {
    expect(signalProcess({ pid: process.pid, startTicks: '1' }, 'SIGKILL')).toBe(false);
  });
});

function launch(baseId: number, epoch: number, key: string) {
  return launchEpoch({
    binary: node.binary,
    cwd: node.folder.path,
    baseId,
    epoch,
    configPath: configFile(key),
    drainTimeS: 1,
    parentShutdownTimeS: 2,
    concurrency: 1,
    skipOnNoParent: false,
    logPath: join(node.folder.logs, `test-${epoch}.log`),
  });
}

async function kill(process_: Parameters<typeof isRunning>[0]): Promise<void> {
  signalProcess(process_, 'SIGKILL');
  await ended(process_);
}

async function ended(process_: Parameters<typeof isRunning>[0], timeoutMs = 8000): Promise<void> {
  expect(await waitUntil(() => (isRunning(process_) ? null : true), { timeoutMs, everyMs: 5 })).toBe(true);
}
