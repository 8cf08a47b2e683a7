import { loadavg } from 'node:os';
import { markerBootstrap } from '#platform/envoy/envoy.fixture.js';
import { BareEnvoy } from './bare-envoy.js';
import { type AgentNode, firstAnswer, grow, startAgentNode } from './bench-node.js';
import { calibrate, median, ratioOfMedians } from './statistics.js';

/*
 * B4. Ours: a release pushed to the agent over gRPC -> the first answer of the new epoch on a new connection. The limit: the same Envoy
 * with a file of the same content, started with --restart-epoch by nobody but this loop. The gate (validation, shadow boot) is what
 * the bare restart leaves out; its time is reported apart and taken off before the two are compared.
 */

export interface RestartTime {
  readonly routes: number;
  readonly blocks: number;
  readonly bareMs: number;
  readonly wholeMs: number;
  readonly gateMs: number;
  readonly beyondGateMs: number;
  readonly ratio: { readonly ratio: number; readonly low: number; readonly high: number };
  readonly samples: { readonly bare: readonly number[]; readonly whole: readonly number[]; readonly gate: readonly number[] };
  readonly rejectedBlocks: number;
  readonly load: number;
}

export async function measureRestartTime({ routes, blocks }: { routes: number; blocks: number }): Promise<RestartTime> {
  const bare = await BareEnvoy.start();
  const restartBare = () =>
    bare.restart((port, epoch) => {
      const bootstrap = markerBootstrap(port, `epoch-${epoch}`);
      grow(routes)(bootstrap);
      return { bytes: JSON.stringify(bootstrap), path: '/', headers: {}, answer: `epoch-${epoch}` };
    });
  await restartBare();
  const ours = await startAgentNode();
  try {
    const bend = grow(routes);
    let n = 0;
    await ours.worker.reported((await ours.release({ body: `r${n}`, bend })).releaseId, 'proven');
    const measureOurs = async () => {
      await ours.quiet();
      n += 1;
      return restartOurs(ours, `r${n}`, bend);
    };
    const measured: Block[] = [];
    for (let block = 0; block < blocks; block++) {
      const calibration = calibrate();
      const first = await measureOurs();
      const limit = [await restartBare(), await restartBare()];
      measured.push({ calibration, bare: limit, ours: [first, await measureOurs()] });
    }
    return { routes, ...summarize(measured) };
  } finally {
    await ours.dispose();
    await bare.dispose();
  }
}

export interface Block {
  readonly calibration: number;
  readonly bare: readonly number[];
  readonly ours: readonly { readonly whole: number; readonly gate: number }[];
}

/** Leaves out the blocks in which the machine was another one, and compares what is left. */
export function summarize(measured: readonly Block[]): Omit<RestartTime, 'routes'> {
  const usual = median(measured.map(({ calibration }) => calibration));
  const kept = measured.filter(({ calibration }) => calibration < usual * 1.5 && calibration > usual / 1.5);
  const bare = kept.flatMap((block) => block.bare);
  const whole = kept.flatMap((block) => block.ours.map((sample) => sample.whole));
  const gate = kept.flatMap((block) => block.ours.map((sample) => sample.gate));
  const beyond = whole.map((value, index) => value - (gate[index] ?? 0));
  return {
    blocks: kept.length,
    bareMs: median(bare),
    wholeMs: median(whole),
    gateMs: median(gate),
    beyondGateMs: median(beyond),
    ratio: ratioOfMedians(beyond, bare),
    samples: { bare, whole, gate },
    rejectedBlocks: measured.length - kept.length,
    load: loadavg()[0] ?? 0,
  };
}

async function restartOurs(ours: AgentNode, body: string, bend: ReturnType<typeof grow>): Promise<{ whole: number; gate: number }> {
  const startedAt = performance.now();
  const pushed = ours.release({ body, bend });
  const whole = await firstAnswer({ port: ours.node.port, path: '/', headers: {}, answer: body }, startedAt);
  const { releaseId } = await pushed;
  await ours.worker.reported(releaseId, 'proven');
  const gate = ours.worker.reports
    .filter((report) => report.releaseId === releaseId && ['checked', 'validated', 'shadow_booted'].includes(report.step))
    .reduce((sum, { durationMs }) => sum + durationMs, 0);
  return { whole, gate };
}
