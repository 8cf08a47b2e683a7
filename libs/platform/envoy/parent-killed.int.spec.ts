import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { createNode, type Node } from './envoy.fixture.js';
import { isRunning, signalProcess } from './process-identity.js';
import { ask } from './proof.js';
import { waitUntil } from './wait-until.js';

jest.setTimeout(60_000);

let node: Node;
beforeEach(async () => {
  node = await createNode();
});
afterEach(() => node.dispose());

describe('a parent that is killed while it drains', () => {
  it('takes its child with it ten seconds after the next restart asks for it; the restart ends then, and a start serves again', async () => {
    const supervisor = node.supervisor();
    const good = node.config('good');
    const first = await supervisor.start([good]);
    const second = await supervisor.restart(node.config('second'), { fallbacks: [good] });
    expect(second.kind).toBe('live');
    signalProcess(first.process, 'SIGKILL');
    expect(await waitUntil(() => (supervisor.parent === null ? true : null), { timeoutMs: 2000, everyMs: 2 })).toBe(true);
    const outcome = await supervisor.restart(node.config('third'), { fallbacks: [good] });
    // Envoy tries to reach its parent for ten seconds and then aborts. Until then its workers serve.
    expect(outcome).toMatchObject({ kind: 'refused', code: 'parent_died' });
    expect(second.kind === 'live' && isRunning(second.live.process)).toBe(false);
    await supervisor.start([node.config('third')]);
    expect(await ask({ host: '127.0.0.1', port: node.port, path: '/', headers: {} })).toEqual({ status: 200, body: 'third' });
  });
});
