import type { HerdOrder, HerdSight } from './herd.js';
import { SimulatedEnvoy } from './simulated-envoy.js';

const [size = '', first = '', token = ''] = process.argv.slice(2);
let port = Number(first);
const herd = Array.from(
  { length: Number(size) },
  (_, i) => new SimulatedEnvoy({ name: `herd-${i}`, port: () => port, token, againMs: 100 + i }),
);

process.on('message', (order: HerdOrder) => {
  if ('port' in order) {
    ({ port } = order);
    return;
  }
  const sight: HerdSight = {
    holding: herd.filter((one) => one.holds(order.text)).length,
    leastDials: Math.min(...herd.map(({ dials }) => dials)),
    resources: herd.reduce((sum, one) => sum + one.resources, 0),
  };
  process.send?.(sight);
});
process.on('disconnect', () => process.exit(0)); // whoever started it has gone
