import { loadavg } from 'node:os';
import { lostCount, type Outcome, startLoad } from '../../test/load/load-client.js';
import { startAgentNode } from './bench-node.js';

/*
 * B3, the hot restarts. A constant rate of requests on raw sockets, each on a new connection or on busy kept ones, while the agent
 * restarts Envoy again and again, each restart as soon as the parent of the last has gone. Every request that is not answered right is
 * lost and counted in its class.
 */

export interface RestartLoss {
  readonly restarts: number;
  readonly sent: number;
  readonly lost: number;
  readonly outcomes: Readonly<Record<Outcome, number>>;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly worstLagMs: number;
  readonly load: number;
}

export async function measureRestartLoss({ restarts, rate }: { restarts: number; rate: number }): Promise<RestartLoss> {
  const ours = await startAgentNode();
  try {
    await ours.worker.reported((await ours.release({ body: 'r0' })).releaseId, 'proven');
    await ours.quiet();
    const load = startLoad({
      ...{ host: '127.0.0.1', port: ours.node.port, path: '/', rate, lanes: ['new', 'busy'] },
      expect: (status, body) => (status !== 200 ? 'wrong status' : /^r\d+$/.test(body) ? 'ok' : 'wrong body'),
    });
    for (let n = 1; n <= restarts; n++) {
      const { releaseId } = await ours.release({ body: `r${n}` });
      await ours.worker.reported(releaseId, 'proven');
      await ours.quiet();
    }
    const result = await load.stop();
    const done = ours.worker.reports.filter(({ step }) => step === 'restarted').length - 1;
    const at = (q: number) => result.latencies[Math.floor(q * (result.latencies.length - 1))] ?? Number.NaN;
    return {
      ...{ restarts: done, sent: result.sent, lost: lostCount(result), outcomes: result.outcomes },
      ...{ p50Ms: at(0.5), p99Ms: at(0.99), worstLagMs: result.worstLagMs, load: loadavg()[0] ?? 0 },
    };
  } finally {
    await ours.dispose();
  }
}
