import { Agent } from 'node:http';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { MappingState } from '#features/mapping/mapping-state.js';
import { matchRoute } from '#features/mapping/route-matcher.js';
import { buildRouteTable } from '#features/mapping/route-table.js';
import { crossingTables } from '#features/mapping/table.arbitrary.js';
import { inputOf } from '#features/rollout/compile.fixture.js';
import { bootstrapBytes, compile } from '#features/rollout/compile.js';
import { type Answer, ask, type RunningEnvoy, startEnvoy } from '#features/rollout/running-envoy.fixture.js';

import { requestsFor, sizings } from './differential.fixture.js';
import { startEcho, startLiveEnvoy } from './live-envoy.fixture.js';
import { LiveTable } from './live-table.js';
import type { ShardSizing } from './shard-plan.js';

const seed = Number(process.env.CHANCERY_SEED ?? Math.trunc(Math.random() * 2 ** 31));
const tables = 24;
const requests = 850;
/** So many requests are on their way at once. */
const lanes = 16;

/** Every other one is set aside and answers for itself; the others forward, with their name as the path that their service sees. */
function asideOf(name: string) {
  return Number(name.slice(1)) % 2 === 0 ? { code: 'set_aside', drop: false } : undefined;
}

function answeredBy({ status, body }: Answer): string | null {
  if (status === 404) return null;
  const answer = JSON.parse(body) as { mapping?: string; url?: string };
  return answer.mapping ?? answer.url?.split('/')[1] ?? `status ${status}`;
}

test(`${tables} random tables, ${requests} requests each: shards, one big list and the reference agree (CHANCERY_SEED=${seed})`, async () => {
  const echo = await startEcho();
  const service = `127.0.0.1:${echo.port}`;
  const drawn = fc
    .sample(crossingTables, { numRuns: tables, seed })
    .map((mappings) => mappings.map((mapping): MappingState => ({ ...mapping, service, rewrite: `/${mapping.name}/` })));
  const big = await startBig(drawn, service);
  const agent = new Agent({ keepAlive: true });
  const differences: unknown[] = [];
  let matched = 0;
  try {
    for (const [i, mappings] of drawn.entries()) {
      const sizing = sizings[i % sizings.length] as ShardSizing;
      const table = new LiveTable({ settings: { allowLoopbackUpstreams: true, perRouteStats: 'off' }, sizing });
      for (const mapping of mappings) table.put(mapping, asideOf(mapping.name));
      const live = await startLiveEnvoy(table, echo.port);
      const reference = buildRouteTable(mappings);
      const asked = requestsFor(mappings, requests, seed + i).values();
      const lane = async () => {
        for (const request of asked) {
          const { path, method } = request;
          const same = { path, method, agent, headers: { ...request.headers, host: request.host } };
          const [inShards, inList] = await Promise.all([live.get(path, same), ask({ port: big.ports.get(`http-${i}`) ?? 0, ...same })]);
          const expected = matchRoute(reference, request)?.row.mapping ?? null;
          const answers = [answeredBy(inShards), answeredBy(inList)];
          if (expected !== null) matched += 1;
          if (answers.some((answer) => answer !== expected)) differences.push({ i, request, expected, answers });
        }
      };
      await Promise.all(Array.from({ length: lanes }, lane));
      await live.stop();
      expect(live.rejections).toEqual([]);
    }
  } finally {
    agent.destroy();
    await big.stop();
    echo.close();
  }
  expect(differences.slice(0, 3)).toEqual([]);
  expect(matched).toBeGreaterThan((tables * requests) / 4);
}, 300_000);

/** All tables as the static render has them, each on a listener of its own. */
async function startBig(all: readonly (readonly MappingState[])[], service: string): Promise<RunningEnvoy> {
  const rendered = all.map((mappings) =>
    compile(
      inputOf({
        mappings,
        setAside: Object.fromEntries(
          mappings.flatMap(({ name }) => (asideOf(name) === undefined ? [] : [[name, { code: 'set_aside', drop: false }]])),
        ),
        settings: { http: { address: '127.0.0.1', port: 0 }, allowLoopbackUpstreams: true },
        endpoints: { [`http://${service}`]: [service] },
      }),
    ),
  );
  const first = rendered.find(({ clusters }) => clusters.length > 0) ?? rendered[0];
  if (first === undefined) throw new Error('no table');
  const listeners = rendered.flatMap(({ bootstrap }, i) =>
    bootstrap.static_resources.listeners.map((listener) => ({ ...listener, name: `http-${i}` })),
  );
  const bootstrap = JSON.parse(bootstrapBytes(first, { releaseId: 'r', body: 'm' }).toString());
  bootstrap.static_resources.listeners = listeners;
  return startEnvoy(Buffer.from(JSON.stringify(bootstrap)), first.endpointFiles);
}
