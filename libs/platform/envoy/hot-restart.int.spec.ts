import { statSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { createNode, type Node } from './envoy.fixture.js';
import { ask } from './proof.js';
import { waitUntil } from './wait-until.js';

jest.setTimeout(60_000);

describe('the hot-restart state machine on the real Envoy', () => {
  let node: Node;
  beforeEach(async () => {
    node = await createNode();
  });
  afterEach(async () => {
    await node.dispose();
  });

  const serves = () => ask({ host: '127.0.0.1', port: node.port, path: '/', headers: {} });

  it('starts epoch 0, with the admin on a Unix socket of mode 0600, and hot-restarts to 1 and 2', async () => {
    const supervisor = node.supervisor();
    const first = await supervisor.start([node.config('a')]);
    expect(first.epoch).toBe(0);
    expect(statSync(node.folder.adminSocket).mode & 0o777).toBe(0o600);
    expect(await serves()).toEqual({ status: 200, body: 'a' });
    for (const key of ['b', 'c']) {
      const outcome = await supervisor.restart(node.config(key), { fallbacks: [] });
      expect(outcome).toMatchObject({ kind: 'live', cut: false });
      await expect(supervisor.restart(node.config('x'), { fallbacks: [] })).rejects.toThrow('still drains');
      expect(await waitUntil(() => (supervisor.parent === null ? true : null), { timeoutMs: 5000, everyMs: 20 })).toBe(true);
      expect(await serves()).toEqual({ status: 200, body: key });
    }
    expect(supervisor.live?.epoch).toBe(2);
    await supervisor.stop({ graceMs: 0 });
    expect((await serves()).status).toBeNull();
  });
});
