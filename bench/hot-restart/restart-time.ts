import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { createNode, markerBootstrap } from '#platform/envoy/envoy.fixture.js';
import { type AgentNode, firstAnswer, grow, startAgentNode, WINDOW } from './bench-node.js';
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
  const bare = await BareEnvoy.start(routes);
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
    const measured: { calibration: number; bare: number[]; ours: { whole: number; gate: number }[] }[] = [];
    for (let block = 0; block < blocks; block++) {
      const calibration = calibrate();
      const first = await measureOurs();
      const limit = [await bare.restart(), await bare.restart()];
      measured.push({ calibration, bare: limit, ours: [first, await measureOurs()] });
    }
    const usual = median(measured.map(({ calibration }) => calibration));
    const kept = measured.filter(({ calibration }) => calibration < usual * 1.5 && calibration > usual / 1.5);
    const bareMs = kept.flatMap((block) => block.bare);
    const whole = kept.flatMap((block) => block.ours.map((sample) => sample.whole));
    const gate = kept.flatMap((block) => block.ours.map((sample) => sample.gate));
    const beyond = whole.map((value, index) => value - (gate[index] ?? 0));
    return {
      routes,
      blocks: kept.length,
      bareMs: median(bareMs),
      wholeMs: median(whole),
      gateMs: median(gate),
      beyondGateMs: median(beyond),
      ratio: ratioOfMedians(beyond, bareMs),
      samples: { bare: bareMs, whole, gate },
      rejectedBlocks: measured.length - kept.length,
      load: loadavg()[0] ?? 0,
    };
  } finally {
    await ours.dispose();
    await bare.dispose();
  }
}

async function restartOurs(ours: AgentNode, body: string, bend: ReturnType<typeof grow>): Promise<{ whole: number; gate: number }> {
  const startedAt = performance.now();
  const pushed = ours.release({ body, bend });
  const whole = await firstAnswer(ours.node.port, body, startedAt);
  const { releaseId } = await pushed;
  await ours.worker.reported(releaseId, 'proven');
  const gate = ours.worker.reports
    .filter((report) => report.releaseId === releaseId && ['checked', 'validated', 'shadow_booted'].includes(report.step))
    .reduce((sum, { durationMs }) => sum + durationMs, 0);
  return { whole, gate };
}

/** Envoy restarted with nothing around it. */
class BareEnvoy {
  readonly #node: Awaited<ReturnType<typeof createNode>>;
  readonly #routes: number;
  readonly #baseId = 390_000_000 + (process.pid % 1_000_000);
  #epoch = -1;
  #live: ChildProcess | null = null;

  private constructor(node: Awaited<ReturnType<typeof createNode>>, routes: number) {
    this.#node = node;
    this.#routes = routes;
  }

  static async start(routes: number): Promise<BareEnvoy> {
    const bare = new BareEnvoy(await createNode(), routes);
    await bare.restart();
    return bare;
  }

  async restart(): Promise<number> {
    const parent = this.#live;
    this.#epoch += 1;
    const bootstrap = markerBootstrap(this.#node.port, `epoch-${this.#epoch}`);
    grow(this.#routes)(bootstrap);
    writeFileSync(join(this.#node.folder.path, 'bare.json'), JSON.stringify(bootstrap));
    const window = ['--drain-time-s', String(WINDOW.drainTimeS), '--parent-shutdown-time-s', String(WINDOW.parentShutdownTimeS)];
    const words = [
      '-c',
      'bare.json',
      '--base-id',
      String(this.#baseId),
      '--restart-epoch',
      String(this.#epoch),
      '--concurrency',
      '2',
      ...window,
    ];
    const startedAt = performance.now();
    this.#live = spawn(this.#node.binary, [...words, '--log-level', 'warning'], { cwd: this.#node.folder.path, env: {}, stdio: 'ignore' });
    const ms = await firstAnswer(this.#node.port, `epoch-${this.#epoch}`, startedAt);
    if (parent !== null && parent.exitCode === null && parent.signalCode === null)
      await new Promise((resolve) => parent.once('exit', resolve));
    return ms;
  }

  async dispose(): Promise<void> {
    await this.#node.dispose();
  }
}
