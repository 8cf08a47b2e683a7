/** A worker that says what it costs: its own process, so that nothing but the worker is in the figures. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { createInterface } from 'node:readline';

import { createLog } from '#platform/log/log.js';

// The build itself, past the hooks that benches are loaded with: they would take a tenth of the start.
const built = new URL('../../dist/apps/worker/src/worker.js', import.meta.url).href;
const { startWorker } = (await import(built)) as typeof import('../../apps/worker/src/worker.js');

const delay = monitorEventLoopDelay({ resolution: 1 });
delay.enable();
const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);
const [databaseUrl = '', token = ''] = process.argv.slice(2);

const worker = await startWorker({
  name: 'watched',
  databaseUrl,
  log: createLog({ process: 'worker', level: 'error' }),
  listen: { host: '127.0.0.1', port: 0 },
  allowLoopback: true,
  ownPorts: new Set(),
  authenticate: async (shown: string) => (shown === token ? { id: 'bench', scopes: ['agent:*'], actor: 'bench' } : undefined),
});
say({ event: 'ready', port: worker.port });

for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'figures') {
    const { rss, heapUsed, external } = process.memoryUsage();
    const { user, system } = process.cpuUsage();
    say({
      event: 'figures',
      rss,
      heapUsed,
      external,
      cpuMs: (user + system) / 1e3,
      stallMs: delay.max / 1e6,
      p99Ms: delay.percentile(99) / 1e6,
    });
    delay.reset();
  }
  if (line === 'end') break;
}
await worker.close();
process.exit(0); // stdin would keep it
