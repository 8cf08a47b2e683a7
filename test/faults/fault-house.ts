import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer as createHttpServer, type Server } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import pg from 'pg';

import { issueToken } from '#features/access/create-token.js';
import { resetAudit } from '#features/audit/audit.projection.js';
import { mappingTransition } from '#features/mapping/mapping.js';
import { resetRoutes } from '#features/mapping/mapping.projection.js';
import { type Database, openDatabase } from '#platform/database/database.js';
import { migrate } from '#platform/database/migrator.js';
import { testEnvoy } from '#platform/envoy/envoy.fixture.js';
import { waitUntil } from '#platform/envoy/wait-until.js';
import { EventStore } from '#platform/eventstore/event-store.js';
import type { JsonObject } from '#platform/kernel/json.js';
import { startPostgres } from '#platform/postgres/embedded-postgres.js';

import { type RunningLoad, startLoad } from '../load/load-client.js';
import { type HttpAnswer, type HttpRequest, send } from '../support/dev-harness.js';
import { HistoryWriter } from './fault-history.js';
import { FaultNode } from './fault-node.js';
import { checkHistory, type HistoryVerdict, liveLimits } from './history-checker.js';
import { HouseProcess, type Release, thisRelease } from './house-process.js';
import type { Limits } from './invariants.js';
import { TcpProxy } from './tcp-proxy.js';

const run = promisify(execFile);
const REQUEST_DEADLINE_MS = 15_000;

export interface HouseOptions {
  readonly nodes?: readonly string[];
  readonly workers?: number;
  readonly redisUrl?: string;
  /** Requests a second for what nobody changes, per node and lane. */
  readonly rate?: number;
  /** What everything is of at first, the schema too; this one by default. */
  readonly release?: Release;
  /** What every process is told beside that. */
  readonly env?: Readonly<Record<string, string>>;
}

interface Worker {
  readonly process: HouseProcess;
  readonly port: number;
}

/**
 * The product as processes of their own (api, workers, agents, Envoys) on a Postgres of its own, with traffic on it and a history of everything. The
 * gateway is delivered live. The mapping `stable` never changes; the rewrite of `canary` carries a revision that only goes up, which an upstream echoes,
 * so that each node tells by its data plane which revision it serves. In the history a version is that revision.
 */
export class FaultHouse {
  readonly history: HistoryWriter;
  readonly nodes = new Map<string, FaultNode>();
  readonly workers: Worker[] = [];
  readonly #folder: string;
  readonly #options: HouseOptions;
  #postgres: Awaited<ReturnType<typeof startPostgres>> | undefined;
  #database: Database | undefined;
  #events: EventStore | undefined;
  #echo: Server | undefined;
  /** The one that is spoken to, of those that run. */
  #api: HouseProcess | undefined;
  /** All that were started, agents aside, in this order. */
  readonly processes: HouseProcess[] = [];
  /** Between every process and Postgres, for partitions. */
  databaseLine: TcpProxy | undefined;
  #token = '';
  #agentToken = '';
  /** What the log calls whoever writes. */
  #actor = '';
  #revision = 0;
  readonly #keys = new Map<string, string>();
  #load: { readonly running: RunningLoad[]; isSampling: boolean; sampling: Promise<void>[] } | undefined;

  private constructor(options: HouseOptions) {
    this.#options = options;
    this.#folder = mkdtempSync(join(tmpdir(), 'chancery-house-'));
    this.history = new HistoryWriter(process.env.CHANCERY_FAULT_HISTORY);
  }

  /** Starts everything, writes the first revision and waits until every node serves it. */
  static async start(options: HouseOptions = {}): Promise<FaultHouse> {
    const house = new FaultHouse(options);
    try {
      await house.#begin();
      return house;
    } catch (error) {
      await house.close();
      throw error;
    }
  }

  get database(): Database {
    if (this.#database === undefined) throw new Error('the house has no database yet');
    return this.#database;
  }

  get api(): HouseProcess {
    if (this.#api === undefined) throw new Error('the house has no api yet');
    return this.#api;
  }

  /** What lets in to the API. */
  get token(): string {
    return this.#token;
  }

  /** From now on requests go to this one. */
  speakTo(api: HouseProcess): void {
    this.#api = api;
  }

  /** Brings the schema to the newest of a folder (this release's), with everything running. @returns what was applied */
  async migrate(folder?: string): Promise<readonly string[]> {
    return (await migrate(this.#postgres?.ownerUrl ?? '', folder === undefined ? {} : { folder })).applied;
  }

  /** For agents and for Envoys that dial themselves. */
  get agentToken(): string {
    return this.#agentToken;
  }

  /** The house's own mappings, as a document has them. */
  steady(): { readonly name: string; readonly prefix: string; readonly service: string; readonly rewrite?: string }[] {
    const service = `127.0.0.1:${this.echoPort}`;
    return [
      { name: 'stable', prefix: '/stable/', service },
      { name: 'canary', prefix: '/canary/', service, rewrite: `/revision-${this.#revision}/` },
    ];
  }

  get revision(): number {
    return this.#revision;
  }

  get echoPort(): number {
    const address = this.#echo?.address();
    if (address === null || typeof address !== 'object') throw new Error('the upstream does not listen');
    return address.port;
  }

  node(name: string): FaultNode {
    const node = this.nodes.get(name);
    if (node === undefined) throw new Error(`no node ${name}`);
    return node;
  }

  worker(index: number): Worker {
    const worker = this.workers[index];
    if (worker === undefined) throw new Error(`no worker ${index}`);
    return worker;
  }

  /** A request to the API, of the gateway unless the path begins with /v1/, within its deadline. Rejects when there is no answer. */
  ask(path: string, options: HttpRequest = {}): Promise<HttpAnswer> {
    const api = String(this.api.said('ready')?.api);
    const headers = { authorization: `Bearer ${options.token ?? this.#token}`, ...options.headers };
    return send(`${api}${path.startsWith('/v1/') ? '' : '/v1/gateways/default'}${path}`, {
      deadlineMs: REQUEST_DEADLINE_MS,
      ...options,
      headers,
    });
  }

  /** Asks for success. */
  async must(path: string, options: HttpRequest): Promise<HttpAnswer> {
    const answer = await this.ask(path, options);
    if (answer.status >= 300) throw new Error(`${options.method ?? 'GET'} ${path}: ${answer.status} ${answer.text}`);
    return answer;
  }

  /** Writes the next revision, with retries under one key until it is known what became of it. @returns the revision */
  async write(deadlineMs = 30_000): Promise<number> {
    this.#revision += 1;
    const revision = this.#revision;
    const body = { prefix: '/canary/', service: `127.0.0.1:${this.echoPort}`, rewrite: `/revision-${revision}/` };
    await this.put('/mappings/canary', body, { revision }, deadlineMs);
    return revision;
  }

  /** A write in the history, sent again under its key until its outcome is known. @returns the answer */
  async put(
    path: string,
    body: unknown,
    value: { revision: number; bad?: boolean; mostAffected?: number },
    deadlineMs = 30_000,
  ): Promise<HttpAnswer> {
    const key = randomUUID();
    const end = performance.now() + deadlineMs;
    for (;;) {
      const answer = await this.#send(path, body, value, key);
      if (answer !== undefined) return answer;
      if (performance.now() > end) throw new Error(`revision ${value.revision} had no known outcome within ${deadlineMs} ms`);
    }
  }

  /** @returns the answer; undefined when it leaves open what became of it */
  async #send(
    path: string,
    body: unknown,
    value: { revision: number; bad?: boolean; mostAffected?: number },
    key: string,
  ): Promise<HttpAnswer | undefined> {
    const base = { actor: 'writer', op: 'write' } as const;
    const cmdId = this.history.id();
    this.#keys.set(key, cmdId);
    const sent = { ...value, deadlineMs: REQUEST_DEADLINE_MS, by: this.#actor, scopes: ['write'] };
    this.history.add({ ...base, type: 'invoke', cmdId, value: sent });
    const answer = await this.ask(path, { method: 'PUT', body, headers: { 'idempotency-key': key } }).catch((error: Error) => error);
    if (answer instanceof Error) {
      const reason = /no answer .* in time/.test(answer.message) ? 'timeout' : answer.message;
      this.history.add({ ...base, type: 'info', cmdId, value: { reason } });
    } else {
      const retryAfter = answer.headers['retry-after'] !== undefined;
      const type = answer.status < 300 ? 'ok' : answer.status >= 500 || answer.status === 429 ? 'info' : 'fail';
      this.history.add({ ...base, type, cmdId, value: { status: answer.status, retryAfter, version: value.revision } });
      if (type !== 'info') return answer;
    }
    return undefined;
  }

  /** A superuser's connection, past the proxy, for tests that hold things. The caller ends it. */
  async superuser(): Promise<pg.Client> {
    const url = new URL(this.#postgres?.adminUrl ?? '');
    url.pathname = new URL(this.#postgres?.url ?? '').pathname;
    const client = new pg.Client({ connectionString: url.href });
    client.on('error', () => undefined); // what it asked is rejected, and that is the report
    await client.connect();
    return client;
  }

  /** One write of the next revision, sent once: it ends as it may, within its deadline or with what the history says of it. */
  async writeOnce(): Promise<void> {
    this.#revision += 1;
    const body = { prefix: '/canary/', service: `127.0.0.1:${this.echoPort}`, rewrite: `/revision-${this.#revision}/` };
    await this.#send('/mappings/canary', body, { revision: this.#revision }, randomUUID());
  }

  /** A write of a mapping of its own, through an API that need not be the one that is spoken to. */
  async writeBeside(api: HouseProcess, name: string): Promise<void> {
    const url = `${api.said('ready')?.api}/v1/gateways/default/mappings/${name}`;
    const body = { prefix: `/${name}/`, service: `127.0.0.1:${this.echoPort}`, rewrite: `/${randomUUID()}/` };
    const answer = await send(url, {
      method: 'PUT',
      body,
      headers: { authorization: `Bearer ${this.#token}` },
      deadlineMs: REQUEST_DEADLINE_MS,
    });
    if (answer.status >= 300) throw new Error(`PUT ${url}: ${answer.status} ${answer.text}`);
  }

  /** Forgets what the projector makes, and has it make it again. */
  async rebuildProjections(): Promise<void> {
    await this.database.db.transaction().execute((tx) => resetRoutes(tx, 'default'));
    await this.database.db.transaction().execute((tx) => resetAudit(tx));
  }

  /** Writes a mapping past every check, as a program with a fault would have recorded it: for what only Envoy itself refuses. */
  async writeUnchecked(name: string, fields: JsonObject): Promise<void> {
    this.#revision += 1;
    const cmdId = this.history.id();
    const value = { revision: this.#revision, bad: true, mostAffected: 0, by: 'system', scopes: ['write'] };
    this.history.add({ actor: 'writer', op: 'write', type: 'invoke', cmdId, value });
    const subject = `mapping/${name}`;
    const state = { host: '*', prefix: `/${name}/`, service: `127.0.0.1:${this.echoPort}`, ...fields };
    const context = { commandId: randomUUID(), action: 'UpdateMapping', actor: 'system' };
    await this.#events?.handle({ stream: 'gateway/default', subjects: [subject], context }, (view) => {
      const event = mappingTransition(subject, view.subject(subject).state, state);
      return event === undefined ? [] : [event];
    });
    this.history.add({ actor: 'writer', op: 'write', type: 'ok', cmdId, value: { version: this.#revision } });
  }

  /** Waits until the data planes of these nodes (all by default) serve a revision, and writes down what they say. */
  async converged(revision: number, { nodes = [...this.nodes.keys()], withinMs = 20_000 } = {}): Promise<void> {
    await Promise.all(
      nodes.map(async (name) => {
        let seen: number | undefined;
        const there = await waitUntil(
          async () => {
            seen = await this.served(name);
            return seen !== undefined && seen >= revision ? true : null;
          },
          { timeoutMs: withinMs, everyMs: 5 },
        );
        if (there === null)
          throw new Error(
            `${name} serves revision ${seen} and not ${revision} after ${withinMs} ms; its agent: ${this.node(name).agent?.log.slice(-3_000)}`,
          );
      }),
    );
  }

  /** Which revision a node serves, asked on a new connection and written down; undefined when it does not answer with one. */
  async served(name: string): Promise<number | undefined> {
    const cmdId = this.history.id();
    const request = { actor: 'client/new', op: 'request', cmdId } as const;
    this.history.add({ ...request, type: 'invoke', value: { node: name, fresh: true, thing: '/canary/' } });
    try {
      const answer = await send(`http://127.0.0.1:${this.node(name).port}/canary/x`, { deadlineMs: 3_000 });
      const match = /^\/revision-(\d+)\/x$/.exec(answer.text);
      if (match === null) {
        this.history.add({ ...request, type: 'fail', value: { node: name, status: answer.status } });
        return undefined;
      }
      const version = Number(match[1]);
      this.history.add({ ...request, type: 'ok', value: { node: name, status: 200, seen: { route: version } } });
      this.history.add({ actor: `node/${name}`, op: 'sight', type: 'ok', cmdId: this.history.id(), value: { node: name, version } });
      return version;
    } catch (error) {
      this.history.add({ ...request, type: 'fail', value: { node: name, reason: (error as Error).message } });
      return undefined;
    }
  }

  /** A fault, from before `during` until after it. */
  async fault<T>(name: string, during: () => Promise<T>): Promise<T> {
    const cmdId = this.history.id();
    const record = { actor: 'nemesis', op: 'fault', cmdId, value: { name } } as const;
    this.history.add({ ...record, type: 'invoke' });
    const result = await during();
    this.history.add({ ...record, type: 'ok' });
    return result;
  }

  /** Waits for something of the house. */
  async until(what: string, holds: () => boolean | Promise<boolean>, timeoutMs = 20_000): Promise<void> {
    const there = await waitUntil(async () => ((await holds()) ? true : null), { timeoutMs, everyMs: 10 });
    if (there === null) throw new Error(`not within ${timeoutMs} ms: ${what}`);
  }

  /** Is a node's target, by the API, what this says? */
  async target(name: string): Promise<Readonly<Record<string, unknown>>> {
    return (await this.must(`/targets/${name}`, {})).json as Readonly<Record<string, unknown>>;
  }

  async startWorker(more: Readonly<Record<string, string>> = {}, release = this.#options.release): Promise<Worker> {
    const env = {
      DATABASE_URL: this.#databaseUrl(),
      CHANCERY_WORKER_LISTEN: '127.0.0.1:0',
      CHANCERY_ALLOW_LOOPBACK_UPSTREAMS: 'true',
      ENVOY_PATH: await testEnvoy(),
      ...(this.#options.redisUrl === undefined ? {} : { REDIS_URL: this.#options.redisUrl }),
      ...this.#options.env,
      ...more,
    };
    // What is said to be '' is not said at all.
    for (const [name, value] of Object.entries(env)) if (value === '') Reflect.deleteProperty(env, name);
    const process = HouseProcess.start(`worker ${this.workers.length}`, 'worker/src/main.js', env, release);
    this.processes.push(process);
    const { listen } = await process.ready();
    const worker = { process, port: Number(String(listen).split(':').at(-1)) };
    this.workers.push(worker);
    return worker;
  }

  /** Requests go to the one that was started last. */
  async startApi(release = this.#options.release): Promise<HouseProcess> {
    const env = {
      DATABASE_URL: this.#databaseUrl(),
      CHANCERY_API_LISTEN: '127.0.0.1:0',
      CHANCERY_ALLOW_LOOPBACK_UPSTREAMS: 'true',
      ...this.#options.env,
    };
    const api = HouseProcess.start('api', 'api/src/main.js', env, release);
    this.processes.push(api);
    await api.ready();
    this.#api = api;
    return api;
  }

  async startProjector(release = this.#options.release): Promise<HouseProcess> {
    const env = { DATABASE_URL: this.#databaseUrl(), CHANCERY_PROJECTOR_METRICS_LISTEN: '127.0.0.1:0', ...this.#options.env };
    const projector = HouseProcess.start('projector', 'projector/src/main.js', env, release);
    this.processes.push(projector);
    await projector.ready();
    return projector;
  }

  /** Begins the traffic for what nobody changes, and looks at what changes, at every node, until `finish`. */
  startTraffic(nodes: readonly string[] = [...this.nodes.keys()]): void {
    const sampling = { running: [] as RunningLoad[], isSampling: true, sampling: [] as Promise<void>[] };
    this.#load = sampling;
    for (const name of nodes) {
      const { port } = this.node(name);
      const running = startLoad({
        host: '127.0.0.1',
        port,
        path: '/stable/x',
        rate: this.#options.rate ?? 40,
        lanes: ['new', 'busy'],
        timeoutMs: 8_000,
        expect: (status, body) => (status !== 200 ? 'wrong status' : body === '/x' ? 'ok' : 'wrong body'),
        onEnd: ({ lane, sentAtMs, endedAtMs, outcome, detail }) => {
          const record = { actor: `client/${lane}`, op: 'request', cmdId: this.history.id() } as const;
          this.history.add({
            ...record,
            type: 'invoke',
            t_mono: sentAtMs,
            value: { node: name, steady: true, fresh: lane === 'new', thing: '/stable/' },
          });
          const end = outcome === 'ok' ? { status: 200 } : { reason: `${outcome}: ${detail}` };
          this.history.add({ ...record, type: outcome === 'ok' ? 'ok' : 'fail', t_mono: endedAtMs, value: { node: name, ...end } });
        },
      });
      sampling.running.push(running);
      sampling.sampling.push(this.#sample(name, () => sampling.isSampling));
    }
  }

  /** Requests of the traffic that were answered rightly so far, on all nodes. */
  get requestsAnswered(): number {
    return (this.#load?.running ?? []).reduce((sum, running) => sum + running.counts().ok, 0);
  }

  /** Kills the Envoys of a node and waits until what nobody changes is served again. */
  async killEnvoys(name: string): Promise<number> {
    const cmdId = this.history.id();
    const record = { actor: 'nemesis', op: 'envoy', cmdId, value: { node: name } } as const;
    this.history.add({ ...record, type: 'invoke' });
    const killedAt = performance.now();
    await this.node(name).killEnvoys();
    await this.until(`the Envoy of ${name} serves again`, () => this.serves(name));
    this.history.add({ ...record, type: 'ok' });
    return performance.now() - killedAt;
  }

  /** Is what nobody changes served by a node? */
  async serves(name: string, path = '/stable/x', body = '/x'): Promise<boolean> {
    try {
      const answer = await send(`http://127.0.0.1:${this.node(name).port}${path}`, { deadlineMs: 2_000 });
      return answer.status === 200 && answer.text === body;
    } catch {
      return false;
    }
  }

  /** Ends the traffic, reads the nodes' journals and the log, and holds the whole history to the invariants. */
  async finish(limits: Partial<Limits> = {}): Promise<HistoryVerdict> {
    await this.#endTraffic();
    for (const name of this.nodes.keys()) await this.served(name);
    for (const [name, node] of this.nodes) {
      for (const { fence, version, lowerVersionReason } of node.releases()) {
        if (fence === undefined) throw new Error(`${name} took a release without a fence`);
        const { lineage, term, sequence } = fence;
        const value = { node: name, version, fence: { lineage, term, sequence }, namesRevert: lowerVersionReason !== '' };
        this.history.add({ actor: `node/${name}`, op: 'applied', type: 'ok', cmdId: this.history.id(), value });
      }
    }
    const { rows } = await this.database.pool.query<{ version: number; idempotency_key: string; actor: string }>(
      `SELECT version, idempotency_key, actor FROM chancery.version WHERE stream = 'gateway/default' AND idempotency_key IS NOT NULL ORDER BY version`,
    );
    for (const { version, idempotency_key: key, actor } of rows)
      this.history.add({
        actor: 'log',
        op: 'event',
        type: 'ok',
        cmdId: this.#keys.get(key) ?? key,
        value: { version: Number(version), by: actor },
      });
    return checkHistory(this.history.records, { ...liveLimits, ...limits });
  }

  async close(): Promise<void> {
    await this.#endTraffic();
    for (const node of this.nodes.values()) await node.close();
    for (const process of this.processes) await process.kill();
    await this.#events?.close();
    await this.#database?.close();
    await this.databaseLine?.close();
    await this.#postgres?.stop();
    this.#echo?.closeAllConnections();
    await new Promise((resolve) => (this.#echo === undefined ? resolve(undefined) : this.#echo.close(resolve)));
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }

  async #begin(): Promise<void> {
    const postgres = await startPostgres({ dataDir: join(this.#folder, 'data'), fsync: false });
    this.#postgres = postgres;
    await migrate(postgres.ownerUrl, { folder: join((this.#options.release ?? thisRelease).folder, 'migrations') });
    this.#database = openDatabase({ url: postgres.url, applicationName: 'faults' });
    this.#events = new EventStore({ database: this.#database });
    this.databaseLine = await TcpProxy.start(() => Number(new URL(postgres.url).port));
    const writer = await this.#makeToken(['read', 'write', 'deploy', 'admin', 'certificates', 'audit']);
    this.#token = writer.token;
    this.#actor = `token/${writer.id}`;
    this.#agentToken = (await this.#makeToken(['agent:*'])).token;
    const echo = createHttpServer((request, response) => response.end(request.url));
    await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
    this.#echo = echo;
    await this.startApi();
    await this.must('/settings', { method: 'PATCH', body: { delivery: 'live', allowLoopbackUpstreams: true } });
    for (let i = 0; i < (this.#options.workers ?? 1); i++) await this.startWorker();
    await this.must('/mappings/stable', { method: 'PUT', body: { prefix: '/stable/', service: `127.0.0.1:${this.echoPort}` } });
    for (const name of this.#options.nodes ?? ['a']) await this.addNode(name);
    await this.converged(await this.write(), { withinMs: 40_000 });
    for (const name of this.nodes.keys()) await this.until(`${name} serves what never changes`, () => this.serves(name));
  }

  /** A node more, aimed at the first worker. */
  async addNode(name: string): Promise<FaultNode> {
    const env = { CHANCERY_AGENT_TOKEN: this.#agentToken, ENVOY_PATH: await testEnvoy(), ...this.#options.env };
    const node = await FaultNode.open(name, await freePort(), () => this.worker(0).port, env);
    this.nodes.set(name, node);
    node.startAgent({}, this.#options.release);
    this.history.add({ actor: `node/${name}`, op: 'node', type: 'ok', cmdId: this.history.id(), value: { node: name } });
    return node;
  }

  /** With the release's own command where it is not this one: that knows its schema. */
  async #makeToken(scopes: readonly string[]): Promise<{ readonly token: string; readonly id: string }> {
    const { release } = this.#options;
    if (release !== undefined) {
      const words = [join(release.folder, 'dist/apps/cli/src/main.js'), 'token', 'create', '--json', '--scopes', scopes.join(',')];
      const { stdout } = await run(process.execPath, words, { env: { PATH: process.env.PATH ?? '', DATABASE_URL: this.#databaseUrl() } });
      return JSON.parse(stdout) as { token: string; id: string };
    }
    if (this.#events === undefined) throw new Error('the house has no log yet');
    const request = { context: { commandId: randomUUID(), actor: 'system' }, dryRun: false };
    const input = { name: scopes.join(' '), scopes: [...scopes], expiresInDays: 1 };
    const { secret, state } = await issueToken(this.#events, input, request, Date.now());
    return { token: secret, id: state.id };
  }

  #databaseUrl(): string {
    const url = new URL(this.#postgres?.url ?? '');
    url.hostname = '127.0.0.1';
    url.port = String(this.databaseLine?.port);
    return url.href;
  }

  async #sample(name: string, goesOn: () => boolean): Promise<void> {
    while (goesOn()) {
      await this.served(name);
      await new Promise((resolve) => setTimeout(resolve, 15)); // the rate of looking, not a wait for a state
    }
  }

  async #endTraffic(): Promise<void> {
    const load = this.#load;
    this.#load = undefined;
    if (load === undefined) return;
    load.isSampling = false;
    await Promise.all([...load.running.map((one) => one.stop()), ...load.sampling]);
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
