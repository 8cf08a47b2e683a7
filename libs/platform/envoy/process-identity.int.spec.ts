import { spawn } from 'node:child_process';
import { once } from 'node:events';

import { describe, expect, it } from '@jest/globals';

import { identifyProcess, ProcessWatch } from './process-identity.js';
import { waitUntil } from './wait-until.js';

describe('a watch over a process', () => {
  it('says that it runs until it has died, and says of the next one what is true of that', async () => {
    const watch = new ProcessWatch();
    for (const _ of [1, 2]) {
      const child = spawn('sleep', ['60']);
      const process_ = identifyProcess(child.pid ?? 0);
      if (process_ === null) throw new Error('it did not start');
      for (const __ of [1, 2, 3]) expect(watch.isRunning(process_)).toBe(true);
      child.kill('SIGKILL');
      await once(child, 'exit');
      expect(watch.isRunning(process_)).toBe(false);
      expect(watch.isRunning(process_)).toBe(false);
    }
    watch.close();
  });

  it('counts one as dead that only waits to be reaped', async () => {
    // The shell does not reap what it has started, since it has become another program.
    const parent = spawn('sh', ['-c', 'sleep 60 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const process_ = identifyProcess(Number(line.toString()));
    if (process_ === null) throw new Error('it did not start');
    const watch = new ProcessWatch();
    expect(watch.isRunning(process_)).toBe(true);
    process.kill(process_.pid, 'SIGKILL');
    expect(await waitUntil(() => (watch.isRunning(process_) ? null : true), { timeoutMs: 5_000, everyMs: 2 })).toBe(true);
    watch.close();
    parent.kill('SIGKILL');
    await once(parent, 'exit');
  });
});
