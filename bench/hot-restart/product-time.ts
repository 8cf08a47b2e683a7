import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { freePort } from '#platform/envoy/envoy.fixture.js';
import { MARKER_PATH, PROOF_HEADER } from '#platform/envoy/model/reserved.js';
import { waitUntil } from '#platform/envoy/wait-until.js';
import { BareEnvoy } from './bare-envoy.js';
import { firstAnswer } from './bench-node.js';
import { type Block, type RestartTime, summarize } from './restart-time.js';
import { calibrate } from './statistics.js';

/*
 * B4 through the whole product: `bin/dev`, a POST of a mapping, the first right answer of its route on a new connection. The clock starts
 * when the POST is answered, which is when the change is accepted and on disk. The limit restarts the same Envoy with the very file that the
 * product rendered (another port, another marker).
 */

interface Ready {
  readonly api: string;
  readonly gateway: string;
  readonly token: string;
}

export async function measureProductTime({ blocks }: { blocks: number }): Promise<RestartTime> {
  const data = mkdtempSync(join(tmpdir(), 'chancery-bench-'));
  const bare = await BareEnvoy.start();
  const product = await Product.start(data);
  try {
    const measured: Block[] = [];
    await product.change();
    for (let block = 0; block < blocks; block++) {
      const calibration = calibrate();
      const first = await product.change();
      const limit = [await restartAsRendered(bare, join(data, 'node')), await restartAsRendered(bare, join(data, 'node'))];
      // The very first bare start is no restart.
      measured.push({ calibration, bare: block === 0 ? limit.slice(1) : limit, ours: [first, await product.change()] });
    }
    return { routes: 2 * blocks + 1, ...summarize(measured) };
  } finally {
    await product.stop();
    await bare.dispose();
    rmSync(data, { recursive: true, force: true });
  }
}

async function restartAsRendered(bare: BareEnvoy, node: string): Promise<number> {
  const newest = readdirSync(join(node, 'configs')).sort().at(-1) ?? 'none';
  cpSync(join(node, 'endpoints'), join(bare.node.folder.path, 'endpoints'), { recursive: true });
  return bare.restart((port, epoch) => {
    const bootstrap = JSON.parse(readFileSync(join(node, 'configs', newest), 'utf8'));
    const [listener] = bootstrap.static_resources.listeners;
    listener.address.socket_address.port_value = port;
    let secret = '';
    for (const virtualHost of listener.filter_chains[0].filters[0].typed_config.route_config.virtual_hosts) {
      for (const route of virtualHost.routes) {
        if (route.match.path !== MARKER_PATH) continue;
        secret = route.match.headers[0].string_match.exact;
        route.direct_response.body.inline_string = `bare-${epoch}`;
      }
    }
    return { bytes: JSON.stringify(bootstrap), path: MARKER_PATH, headers: { [PROOF_HEADER]: secret }, answer: `bare-${epoch}` };
  });
}

class Product {
  readonly #process: ChildProcess;
  readonly #ready: Ready;
  #changes = 0;

  private constructor(process_: ChildProcess, ready: Ready) {
    this.#process = process_;
    this.#ready = ready;
  }

  static async start(data: string): Promise<Product> {
    const ports = await Promise.all([freePort(), freePort(), freePort()]);
    const words = [
      '--json',
      '--data',
      data,
      '--api-port',
      String(ports[0]),
      '--http-port',
      String(ports[1]),
      '--https-port',
      String(ports[2]),
    ];
    const dev = spawn(join(import.meta.dirname, '../../../bin/dev'), words, { stdio: ['ignore', 'pipe', 'inherit'] });
    // However this process ends, what it started ends too.
    process.once('exit', () => dev.kill('SIGTERM'));
    let ready: Ready | null = null;
    createInterface({ input: dev.stdout }).on('line', (line) => {
      const said = JSON.parse(line) as Ready & { event: string };
      if (said.event === 'ready') ready = said;
    });
    const found = await waitUntil(() => ready, { timeoutMs: 120_000, everyMs: 20 });
    if (found === null) throw new Error('bin/dev was not ready within two minutes');
    const product = new Product(dev, found);
    await product.#restartForEachChange();
    return product;
  }

  /** What is measured here is not how new gateways are delivered. */
  async #restartForEachChange(): Promise<void> {
    const { api, token } = this.#ready;
    const answer = await fetch(`${api}/v1/gateways/default/settings`, {
      method: 'PATCH',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ delivery: 'hot-restart' }),
    });
    if (!answer.ok) throw new Error(`the delivery could not be set: ${answer.status} ${await answer.text()}`);
  }

  /** One mapping more. Waits for a quiet gateway first, so that the change meets no window. */
  async change(): Promise<{ whole: number; gate: number }> {
    await this.#quiet();
    this.#changes += 1;
    const prefix = `/bench-${this.#changes}/`;
    const answer = await this.#call('POST', 'mappings', { name: `bench-${this.#changes}`, prefix, service: 'usersvc' });
    const startedAt = performance.now();
    const { gatewayVersion } = answer as { gatewayVersion: number };
    const port = Number(new URL(this.#ready.gateway).port);
    const whole = await firstAnswer({ port, path: `${prefix}health`, headers: {}, answer: null }, startedAt);
    const deployment = await waitUntil(async () => this.#deploymentOf(gatewayVersion), { timeoutMs: 20_000, everyMs: 20 });
    if (deployment === null) throw new Error(`version ${gatewayVersion} was not proven`);
    const gate = deployment.steps
      .filter(({ step }) => ['checked', 'validated', 'shadow_booted'].includes(step))
      .reduce((sum, step) => sum + step.durationMs, 0);
    return { whole, gate };
  }

  async stop(): Promise<void> {
    this.#process.kill('SIGTERM');
    await new Promise((resolve) => this.#process.once('exit', resolve));
  }

  async #deploymentOf(version: number): Promise<{ steps: { step: string; durationMs: number }[] } | null> {
    const { items } = (await this.#call('GET', 'deployments')) as {
      items: { version: number; state: string; steps: { step: string; durationMs: number }[] }[];
    };
    return items.find((item) => item.version === version && item.state === 'proven') ?? null;
  }

  async #quiet(): Promise<void> {
    const idle = await waitUntil(
      async () => {
        const { items } = (await this.#call('GET', 'targets')) as { items: { agentState: string; windowEndsAt: string | null }[] };
        return items.every((target) => target.agentState === 'idle' && target.windowEndsAt === null) || null;
      },
      { timeoutMs: 30_000, everyMs: 50 },
    );
    if (idle === null) throw new Error('the gateway did not come to rest within 30 s');
  }

  async #call(method: string, path: string, body?: unknown): Promise<unknown> {
    const answer = await fetch(`${this.#ready.api}/v1/gateways/default/${path}`, {
      method,
      headers: { authorization: `Bearer ${this.#ready.token}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }
}
