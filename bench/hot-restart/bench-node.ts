import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { type Bootstrap, createNode, type Node } from '#platform/envoy/envoy.fixture.js';
import { ask } from '#platform/envoy/proof.js';
import { waitUntil } from '#platform/envoy/wait-until.js';
import { type ReleaseOptions, startTestWorker, type TestWorker, TOKEN } from '../../apps/agent/src/worker.fixture.js';

/** Drain and window of every restart here, seconds: short, so that many fit in a run. */
export const WINDOW = { drainTimeS: 1, parentShutdownTimeS: 2 };

/** A configuration of this many routes in front of the one that answers, and this many clusters. */
export function grow(routes: number): (bootstrap: Bootstrap) => void {
  return (bootstrap) => {
    const [virtualHost] = bootstrap.static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts;
    const last = virtualHost.routes.pop();
    const clusters = Math.max(1, Math.min(100, routes));
    for (let n = 0; n < clusters; n++) {
      bootstrap.static_resources.clusters.push({
        name: `service-${n}`,
        type: 'STATIC',
        connect_timeout: '1s',
        load_assignment: {
          cluster_name: `service-${n}`,
          endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: 9 } } } }] }],
        },
      });
    }
    for (let n = 0; n < routes; n++)
      virtualHost.routes.push({ match: { prefix: `/route-${n}/` }, route: { cluster: `service-${n % clusters}` } });
    virtualHost.routes.push(last);
  };
}

/** A real agent process with its Envoy, and the worker's end of its line. */
export interface AgentNode {
  readonly node: Node;
  readonly worker: TestWorker;
  release(options: ReleaseOptions): ReturnType<TestWorker['push']>;
  /** Waits until nothing drains. */
  quiet(): Promise<void>;
  dispose(): Promise<void>;
}

export async function startAgentNode(): Promise<AgentNode> {
  const node = await createNode();
  const worker = await startTestWorker(node.port);
  const agent: ChildProcess = spawn(process.execPath, [join(import.meta.dirname, '../../apps/agent/src/main.js'), '--envoy-on-exit=stop'], {
    env: {
      ENVOY_PATH: node.binary,
      CHANCERY_AGENT_DATA: node.folder.path,
      CHANCERY_AGENT_HTTP_LISTEN: `127.0.0.1:${node.port}`,
      CHANCERY_AGENT_TOKEN: TOKEN,
      CHANCERY_AGENT_WORKER: `127.0.0.1:${worker.port}`,
      CHANCERY_AGENT_CONCURRENCY: '2',
      CHANCERY_LOG_LEVEL: 'error',
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const ended = new Promise((resolve) => agent.once('exit', resolve));
  return {
    node,
    worker,
    release: (options) => worker.push({ ...WINDOW, ...options }),
    async quiet() {
      const state = await waitUntil(() => (worker.status()?.state === 'idle' ? true : null), { timeoutMs: 30_000, everyMs: 10 });
      if (state === null) throw new Error(`the agent is not idle: ${JSON.stringify(worker.status())}`);
    },
    async dispose() {
      agent.kill('SIGTERM');
      await ended;
      await worker.close();
      await node.dispose();
    },
  };
}

/** What is asked, and the whole body of a right answer; `null` takes any answer with status 200. */
export interface Question {
  readonly port: number;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly answer: string | null;
}

/** Milliseconds from `startedAt` to the first right answer on a new connection. */
export async function firstAnswer({ port, path, headers, answer }: Question, startedAt: number): Promise<number> {
  for (;;) {
    const got = await ask({ host: '127.0.0.1', port, path, headers });
    if (got.status === 200 && (answer === null || got.body === answer)) return performance.now() - startedAt;
    if (performance.now() - startedAt > 60_000) throw new Error(`no right answer on ${path} within 60 s, but ${got.status} ${got.body}`);
    await new Promise((resolve) => setTimeout(resolve, 0.3));
  }
}
