import { type Contender, pathOf } from '../peers/contender.js';
import { probe } from '../peers/probe.js';

const SAMPLE = 64;
const LATEST_MS = 600_000;

/** Waits until routes that are spread over the whole table, and its last, all answer with the revision on new connections. */
export async function untilAllLive(
  contender: Pick<Contender, 'host' | 'port' | 'answer'>,
  routes: number,
  revision: string,
): Promise<void> {
  const end = performance.now() + LATEST_MS;
  const sample = Array.from({ length: Math.min(SAMPLE, routes) }, (_, n) => Math.floor((n * routes) / Math.min(SAMPLE, routes)));
  for (const route of [...sample, routes - 1]) {
    for (;;) {
      const { status, head } = await probe(contender.host, contender.port, pathOf(route));
      if (status === 200 && head.includes(contender.answer(route, revision))) break;
      if (performance.now() > end) throw new Error(`route ${route} does not serve ${revision}: ${status} ${head}`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}
