import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { installEnvoy } from '#platform/envoy/binary.js';

import { endProcesses, findEnvoys, findOrphans } from '../../apps/cli/src/dev/orphans.js';
import { checkout, DevHarness } from '../../test/support/dev-harness.js';
import { median } from '../append/statistics.js';
import { startEchoService } from '../machine/echo-service.js';
import { StartedProcess, untilSo } from '../machine/started-process.js';
import { startEnvoy } from '../peers/bare-envoy.js';
import { type Contender, missingPeerBinary, pathOf, type Site } from '../peers/contender.js';
import { untilServing } from '../peers/probe.js';
import { MOST_ROUTES, startProduct } from '../peers/product.js';
import { stub } from '../peers/stub-peer.js';

const HELP = `bench/footprint (B9): a node that starts alone, its whole control plane dead, until it serves

  --routes 100000     size
  --starts 5          of each side, in turns
`;

const { values: flags } = parseArgs({
  options: {
    routes: { type: 'string', default: '100000' },
    starts: { type: 'string', default: '5' },
    help: { type: 'boolean', default: false },
  },
});
// Of the most that a gateway may have, the product leaves some places to its benches.
const routes = Math.min(Number(flags.routes), MOST_ROUTES);
const starts = Number(flags.starts);
const GOAL_MS = 2_000;
const TICK_MS = 10;

/** One start: until Envoy runs, until the last route serves, and the processor time of each until then. Milliseconds. */
interface Start {
  readonly envoyMs: number;
  readonly servesMs: number;
  readonly agentCpuMs: number;
  readonly envoyCpuMs: number;
}

/** The processor time of a process with all of its threads. */
function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

const serves = (contender: Pick<Contender, 'host' | 'port' | 'answer'>) =>
  untilServing(contender, { route: routes - 1, path: pathOf(routes - 1), deadlineMs: 60_000 });

/** A node's folder as it was when the house ended, and what its agent was told. */
interface Node {
  readonly data: string;
  readonly env: Readonly<Record<string, string>>;
  readonly at: Pick<Contender, 'host' | 'port' | 'answer'>;
}

/** The whole house with so many routes live, ended; its data are kept. */
async function leaveNode(site: Site): Promise<{ node: Node; dev: DevHarness }> {
  const product = await startProduct(site);
  const { dev, host, port, answer } = product;
  const pairs = readFileSync(`/proc/${dev.pidOf('agent')}/environ`, 'utf8')
    .split('\0')
    .filter(Boolean);
  const env = Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]));
  await dev.halt();
  return { node: { data: dev.data, env, at: { host, port, answer } }, dev };
}

async function startAlone({ data, env, at }: Node, folder: string): Promise<Start> {
  const began = performance.now();
  const words = [join(checkout, 'dist/apps/agent/src/main.js')];
  const agent = new StartedProcess({ command: process.execPath, words, folder, name: 'agent', env });
  try {
    await untilSo('Envoy runs', () => findEnvoys(data).length > 0, { of: agent, everyMs: 5 });
    const envoyMs = performance.now() - began;
    await serves(at);
    const servesMs = performance.now() - began;
    const envoyCpuMs = findEnvoys(data).reduce((sum, { pid }) => sum + cpuMs(pid), 0);
    return { envoyMs, servesMs, agentCpuMs: cpuMs(agent.pid), envoyCpuMs };
  } finally {
    await agent.stop('SIGKILL'); // as a machine that loses its power: the next one starts from the disk alone
    await endProcesses([...findOrphans(data).map((orphan) => orphan.process), ...findEnvoys(data)], 0);
    await untilSo('the node is still', () => findEnvoys(data).length === 0);
  }
}

/** The floor: the same Envoy from its start, with a server beside it that has the same routes encoded already. */
async function openFloor(site: Site) {
  if (stub.missing(site) !== undefined) return undefined;
  const server = await stub.start(site);
  process.kill(server.data[0] ?? 0, 'SIGKILL');
  return {
    stop: () => server.stop(),
    async start(): Promise<Start> {
      const began = performance.now();
      const envoy = startEnvoy(site, 'stub.yaml');
      try {
        await serves(server);
        return { envoyMs: 0, servesMs: performance.now() - began, agentCpuMs: 0, envoyCpuMs: cpuMs(envoy.pid) };
      } finally {
        await envoy.stop('SIGKILL');
      }
    },
  };
}

function show(name: string, all: readonly Start[]): void {
  const of = (pick: (start: Start) => number) => median(all.map(pick)).toFixed(0).padStart(5);
  console.log(
    `  ${name.padEnd(28)} serves after ${of((s) => s.servesMs)} ms (Envoy started after ${of((s) => s.envoyMs)})   processor time: agent ${of((s) => s.agentCpuMs)} ms, Envoy ${of((s) => s.envoyCpuMs)} ms`,
  );
}

async function main(): Promise<void> {
  if (flags.help) return console.log(HELP);
  const folder = mkdtempSync(join(tmpdir(), 'chancery-bench-cold-start-'));
  const { path: envoy } = await installEnvoy({ cacheDir: join(checkout, '.cache/envoy'), envoyPath: process.env.ENVOY_PATH });
  const echo = await startEchoService(folder);
  const site = (name: string): Site => {
    const own = mkdtempSync(join(folder, `${name}-`));
    return { folder: own, routes, upstreamPort: echo.ports[0] ?? 0, ownAddress: undefined, envoy };
  };
  const floor = await openFloor(site('stub'));
  if (floor === undefined) console.log(`  stub: skipped, ${missingPeerBinary('limitpeer')}`);
  const { node, dev } = await leaveNode(site('node'));
  const [alone, bare]: [Start[], Start[]] = [[], []];
  console.log(`B9  a node alone with ${routes} routes; ${cpus().length} cores, Node ${process.version}, load ${loadavg()[0]?.toFixed(1)}`);
  try {
    for (let n = 0; n < starts; n++) {
      alone.push(await startAlone(node, folder));
      if (floor !== undefined) bare.push(await floor.start());
    }
    show('a node alone', alone);
    if (bare.length > 0) show('Envoy alone, fed by the stub', bare);
    const took = median(alone.map(({ servesMs }) => servesMs));
    console.log(`  goal <= ${GOAL_MS} ms: ${took <= GOAL_MS ? 'reached' : 'MISSED'}`);
  } finally {
    await dev.dispose();
    await floor?.stop();
    await echo.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();
