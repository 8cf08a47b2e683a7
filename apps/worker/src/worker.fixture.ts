import { randomUUID } from 'node:crypto';

import { defaultSettings } from '#features/gateway/gateway.js';
import type { MappingState } from '#features/mapping/mapping-state.js';
import { type Database, openDatabase, sqlQuery } from '#platform/database/database.js';
import { EventStore } from '#platform/eventstore/event-store.js';
import { createLog } from '#platform/log/log.js';

import { createTestDatabase, type TestDatabase } from '../../../test/support/test-database.js';
import { ScriptedAgent, type ScriptedAgentOptions } from './scripted-agent.fixture.js';
import { type RunningWorker, startWorker } from './worker.js';
import type { Tuning, WorkerOptions } from './worker-options.js';

const quick: Partial<Tuning> = {
  pollMs: 200,
  sweepMs: 200,
  queueLockMs: 2_000,
  backoffMs: 50,
  confirmationsMs: 50,
  wavesMs: 50,
  pushDeadlineMs: 10_000,
  readyDeadlineMs: 10_000,
  statsIntervalMs: 100,
};

/** A database with one gateway, and whatever workers and agents a test starts on it. */
export class WorkerFixture {
  readonly #workers = new Set<RunningWorker>();
  readonly #agents: ScriptedAgent[] = [];
  readonly gateway = 'default';

  private constructor(
    readonly test: TestDatabase,
    readonly database: Database,
    readonly events: EventStore,
  ) {}

  /** A gateway that is delivered by hot restarts, unless `settings` say otherwise. */
  static async open(settings: object = {}): Promise<WorkerFixture> {
    const test = await createTestDatabase();
    const database = openDatabase({ url: test.url, applicationName: 'spec' });
    const fixture = new WorkerFixture(test, database, new EventStore({ database }));
    await fixture.append('gateway', 'GatewayCreated', stateOf(settings));
    return fixture;
  }

  async startWorker(name: string, more: Partial<WorkerOptions> = {}): Promise<RunningWorker> {
    const worker = await startWorker({
      name,
      databaseUrl: this.test.url,
      log: createLog({ process: name, level: process.env.CHANCERY_TEST_LOG ?? 'silent' }),
      listen: { host: '127.0.0.1', port: 0 },
      allowLoopback: true,
      ownPorts: new Set(),
      authenticate: async (token) => (token === 'agent-token' ? { id: 'agent', scopes: ['agent:*'], actor: 'token/agent' } : undefined),
      lookup: async () => {
        throw Object.assign(new Error('no such name'), { code: 'ENOTFOUND' });
      },
      ...more,
      tuning: { ...quick, ...more.tuning },
    });
    this.#workers.add(worker);
    return worker;
  }

  async stopWorker(worker: RunningWorker): Promise<void> {
    this.#workers.delete(worker);
    await worker.close();
  }

  agent(options: Partial<ScriptedAgentOptions> = {}): ScriptedAgent {
    const agent = new ScriptedAgent({ target: 'edge-1', gateway: this.gateway, ...options });
    this.#agents.push(agent);
    return agent;
  }

  /** Another gateway beside the one that there is. */
  async addGateway(name: string): Promise<void> {
    await this.events.handle(
      {
        stream: `gateway/${name}`,
        subjects: ['gateway'],
        context: { commandId: randomUUID(), action: 'GatewayCreated', actor: 'token/spec' },
      },
      () => [{ type: 'GatewayCreated', schemaVersion: 1, subject: 'gateway', state: stateOf({}) as never }],
    );
  }

  /** Appends one event to the gateway's stream; answers the version. */
  async append(subject: string, type: string, state: MappingState | object | null, action = type): Promise<number> {
    const outcome = await this.events.handle(
      { stream: `gateway/${this.gateway}`, subjects: [subject], context: { commandId: randomUUID(), action, actor: 'token/spec' } },
      () => [{ type, schemaVersion: 1, subject, state: state as never }],
    );
    return outcome.version;
  }

  putMapping(name: string, more: Partial<MappingState> = {}): Promise<number> {
    return this.append(`mapping/${name}`, 'MappingCreated', mapping(name, more));
  }

  query<R>(text: string, values: unknown[] = []): Promise<R[]> {
    return sqlQuery<R>(this.database.db, text, values);
  }

  async close(): Promise<void> {
    for (const agent of this.#agents) agent.close();
    for (const worker of this.#workers) await worker.close();
    await this.events.close();
    await this.database.close();
    await this.test.drop();
  }
}

function stateOf(settings: object): object {
  const usual = { delivery: 'hot-restart', allowLoopbackUpstreams: true, services: { usersvc: ['127.0.0.1:9001'] } };
  return JSON.parse(JSON.stringify({ ...defaultSettings, ...usual, ...settings }));
}

function mapping(name: string, more: Partial<MappingState> = {}): MappingState {
  return {
    name,
    host: '*',
    prefix: `/${name}/`,
    path: null,
    service: 'usersvc',
    rewrite: '/',
    methods: [],
    headers: {},
    precedence: 0,
    timeoutMs: 3_000,
    labels: {},
    ...more,
  };
}

/** Waits for a condition, asking again until the deadline. @throws Error naming what did not come about. */
export async function eventually(what: string, condition: () => boolean | Promise<boolean>, deadlineMs = 15_000): Promise<void> {
  const endsAt = Date.now() + deadlineMs;
  while (!(await condition())) {
    if (Date.now() > endsAt) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
