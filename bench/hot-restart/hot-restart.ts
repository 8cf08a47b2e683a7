import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { measureProductTime } from './product-time.js';
import { measureRestartLoss } from './restart-loss.js';
import { measureRestartTime, type RestartTime } from './restart-time.js';

const HELP = `bench/hot-restart: how long a hot restart takes, and what it loses

  --routes 10,1000     sizes for the time (B4)
  --blocks 5           blocks of two restarts of each side per size
  --product            B4 through the whole product too (bin/dev, a POST)
  --restarts 20        restarts under load (B3); 0 leaves it out
  --rate 400           requests a second on each of the two lanes
  --json FILE          writes everything that was measured
`;

const { values } = parseArgs({
  options: {
    routes: { type: 'string', default: '10,1000' },
    blocks: { type: 'string', default: '5' },
    restarts: { type: 'string', default: '20' },
    rate: { type: 'string', default: '400' },
    product: { type: 'boolean', default: false },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit(0);
}

function print(name: string, time: RestartTime): void {
  const { ratio, low, high } = time.ratio;
  const cells = [
    name.padStart(9),
    time.bareMs.toFixed(0).padStart(6),
    time.wholeMs.toFixed(0).padStart(7),
    time.gateMs.toFixed(0).padStart(12),
    time.beyondGateMs.toFixed(0).padStart(17),
    `${ratio.toFixed(2)} (${low.toFixed(2)}-${high.toFixed(2)})`.padStart(22),
    '<= 1.2',
  ];
  console.log(`${cells.join(' ')}   [${time.blocks} blocks, ${time.rejectedBlocks} rejected, load ${time.load.toFixed(1)}]`);
}

const times: RestartTime[] = [];
let product: RestartTime | null = null;
if (Number(values.blocks) > 0) {
  console.log('B4  an accepted change -> first answer of the new epoch, ms (limit: bare envoy --restart-epoch, same file)\n');
  console.log('   routes   bare   whole   gate apart   beyond the gate   ratio to bare (95 %)   goal');
  for (const routes of values.routes.split(',').map(Number)) {
    const time = await measureRestartTime({ routes, blocks: Number(values.blocks) });
    times.push(time);
    print(String(routes), time);
  }
  if (values.product) {
    product = await measureProductTime({ blocks: Number(values.blocks) });
    print('a POST', product);
  }
}

const loss =
  Number(values.restarts) > 0 ? await measureRestartLoss({ restarts: Number(values.restarts), rate: Number(values.rate) }) : null;
if (loss !== null) {
  console.log(`\nB3  ${loss.restarts} hot restarts under raw-socket load (new connections and busy kept ones)\n`);
  console.log(
    `sent ${loss.sent}, lost ${loss.lost} (goal 0), p50 ${loss.p50Ms.toFixed(1)} ms, p99 ${loss.p99Ms.toFixed(1)} ms, load ${loss.load.toFixed(1)}`,
  );
  console.log(
    Object.entries(loss.outcomes)
      .map(([outcome, count]) => `${outcome} ${count}`)
      .join(', '),
  );
  if (loss.worstLagMs > 100)
    console.log(`the client was up to ${loss.worstLagMs.toFixed(0)} ms late: the machine was too busy for this rate`);
}

if (values.json !== undefined) {
  const result = { bench: 'hot-restart', at: new Date().toISOString(), cpus: cpus().length, node: process.version, times, product, loss };
  writeFileSync(values.json, `${JSON.stringify(result, null, 2)}\n`);
}
