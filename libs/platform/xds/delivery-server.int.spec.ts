import { connect } from 'node:net';

import { afterEach, describe, expect, jest, test } from '@jest/globals';

import { createLog } from '#platform/log/log.js';

import { type AgentConnection, type AgentConnectionOptions, connectAgent, DeliveryRefusal } from './agent-connection.js';
import { type DeliveryHandlers, type DeliveryServer, startDeliveryServer } from './delivery-server.js';
import type { DeliverySession, EncodedRelease } from './delivery-session.js';
import type { Hello, Manifest, Report } from './generated/delivery.js';
import { encodeBootstrap, encodeEndpointFile, encodeManifest } from './resource.js';

jest.setTimeout(20_000);

const log = createLog({ process: 'spec', level: 'silent' });
let server: DeliveryServer | undefined;
const connections: AgentConnection[] = [];
afterEach(async () => {
  for (const connection of connections.splice(0)) connection.close();
  await server?.close();
  server = undefined;
});

class Worker implements DeliveryHandlers {
  readonly sessions = new Map<string, DeliverySession>();
  readonly reports: number[] = [];
  readonly closedBecause: string[] = [];
  holdReports: Promise<void> | undefined;
  async authenticate(token: string) {
    return token === 'good' ? { id: 'a', scopes: [], actor: 'token/a' } : undefined;
  }
  refuseOpening: string | undefined;
  async opened() {
    if (this.refuseOpening !== undefined) throw new Error(this.refuseOpening);
    return { term: 1, lineage: 1, lineageId: 'x', statsIntervalMs: 1_000 };
  }
  subscribed(session: DeliverySession) {
    this.sessions.set(session.target, session);
  }
  async status() {}
  async stats() {}
  async report(_session: DeliverySession, report: Report) {
    await this.holdReports;
    this.reports.push(report.id);
    return 'taken' as const;
  }
  closed(_session: DeliverySession, reason: string) {
    this.closedBecause.push(reason);
  }
}

async function eventually(what: string, condition: () => boolean, deadlineMs = 10_000): Promise<void> {
  const endsAt = Date.now() + deadlineMs;
  while (!condition()) {
    if (Date.now() > endsAt) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const start = async (worker: Worker, more: object = {}) => {
  server = await startDeliveryServer({ host: '127.0.0.1', port: 0, handlers: worker, log, ...more });
  return server.port;
};

const hello = (target: string): Hello => ({
  target,
  gateway: 'default',
  instance: '1',
  agentVersion: '',
  envoyVersion: '',
  http: undefined,
  https: undefined,
  proofSecret: 's',
  lastFence: undefined,
  status: undefined,
  lastRenderSha256: '',
  liveDigest: '',
  liveBootstrapSha256: '',
});

const dial = async (port: number, more: Partial<AgentConnectionOptions> = {}, target = 'edge-1') => {
  const connection = await connectAgent({
    address: `127.0.0.1:${port}`,
    token: 'good',
    hello: hello(target),
    onResources: async () => undefined,
    onReportAck: () => undefined,
    onValidate: () => undefined,
    onClosed: () => undefined,
    ...more,
  });
  connections.push(connection);
  return connection;
};

const release = (sequence: number, bootstrap: string, endpoints: Record<string, string> = {}): EncodedRelease => {
  const manifest: Manifest = {
    releaseId: `1.1.${sequence}`,
    fence: { lineage: 1, lineageId: 'x', term: 1, sequence },
    gateway: 'default',
    version: sequence,
    renderSha256: '',
    items: [],
    marker: '',
    drainTimeS: 0,
    parentShutdownTimeS: 0,
    force: false,
    lowerVersionReason: '',
    probes: [],
    proofAnswers: 0,
  };
  return {
    bootstrap: encodeBootstrap(Buffer.from(bootstrap)),
    endpoints: Object.entries(endpoints).map(([name, json]) => encodeEndpointFile(name, Buffer.from(json))),
    manifest: encodeManifest(manifest),
  };
};

const sessionOf = async (worker: Worker, target = 'edge-1'): Promise<DeliverySession> => {
  await eventually('the agent has subscribed', () => worker.sessions.has(target));
  return worker.sessions.get(target) as DeliverySession;
};

describe('delivery', () => {
  test('files come first, the manifest last, and what is held is not sent again', async () => {
    const worker = new Worker();
    const got: string[] = [];
    await dial(await start(worker), {
      onResources: async ({ resources }) => void got.push(...resources.map(({ kind, name }) => `${kind} ${name}`)),
    });
    const session = await sessionOf(worker);
    expect(await session.push(release(1, '{}', { a: '1', b: '2' }))).toEqual({ kind: 'acknowledged' });
    expect(got).toEqual(['endpoints a', 'endpoints b', 'bootstrap bootstrap', 'manifest release']);
    got.length = 0;
    expect(await session.push(release(2, '{}', { a: '1', b: '3' }))).toEqual({ kind: 'acknowledged' });
    expect(got).toEqual(['endpoints b', 'manifest release']);
  });

  test('a large bootstrap passes', async () => {
    const worker = new Worker();
    let bytes = 0;
    await dial(await start(worker), {
      onResources: async ({ resources }) => {
        for (const resource of resources) if (resource.kind === 'bootstrap') bytes = resource.json.length;
      },
    });
    const session = await sessionOf(worker);
    expect(await session.push(release(1, 'x'.repeat(20_000_000)))).toEqual({ kind: 'acknowledged' });
    expect(bytes).toBe(20_000_000);
  });

  test('a refusal comes back with its reason', async () => {
    const worker = new Worker();
    await dial(await start(worker), {
      onResources: async ({ resources }) => {
        if (resources[0]?.kind === 'manifest') throw new DeliveryRefusal('not newer than 1.9.9');
      },
    });
    const session = await sessionOf(worker);
    expect(await session.push(release(1, '{}'))).toMatchObject({ kind: 'refused', message: 'not newer than 1.9.9' });
  });

  test('a slow agent gets the newest and costs nobody else anything', async () => {
    const worker = new Worker();
    const port = await start(worker);
    const seen: string[] = [];
    let letGo: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    await dial(port, {
      onResources: async ({ resources }) => {
        await held;
        for (const resource of resources) if (resource.kind === 'manifest') seen.push(resource.version);
      },
    });
    await dial(port, {}, 'edge-2');
    const slow = await sessionOf(worker);
    const outcomes = Array.from({ length: 50 }, (_, i) => slow.push(release(i + 1, `{"v":${i}}`)));
    const quick = await sessionOf(worker, 'edge-2');
    expect(await quick.push(release(1, '{}'))).toEqual({ kind: 'acknowledged' });
    letGo();
    const kinds = (await Promise.all(outcomes)).map(({ kind }) => kind);
    expect(kinds.slice(0, -1)).toEqual(new Array(49).fill('superseded'));
    expect(kinds.at(-1)).toBe('acknowledged');
    expect(seen).toEqual(['1.1.50']);
  });

  test('an agent that never answers is given up, and what it was sent is unknown', async () => {
    const worker = new Worker();
    await dial(await start(worker, { ackTimeoutMs: 200 }), { onResources: () => new Promise(() => undefined) });
    const session = await sessionOf(worker);
    expect(await session.push(release(1, '{}'))).toMatchObject({ kind: 'unknown' });
    expect(worker.closedBecause).toHaveLength(1);
    expect(await session.push(release(2, '{}'))).toMatchObject({ kind: 'unknown' });
  });

  test('reports are acknowledged when they are stored, not before', async () => {
    const worker = new Worker();
    let letGo: () => void = () => undefined;
    worker.holdReports = new Promise((resolve) => {
      letGo = resolve;
    });
    const acks: number[] = [];
    const connection = await dial(await start(worker), { onReportAck: (id) => acks.push(id) });
    const report: Report = {
      id: 1,
      releaseId: '',
      step: '',
      atMs: 0,
      durationMs: 0,
      epochFrom: 0,
      epochTo: 0,
      code: '',
      detail: '',
      version: 0,
      coversFrom: 0,
      resources: [],
      renderSha256: '',
    };
    for (let id = 1; id <= 5; id++) connection.sendReport({ ...report, id });
    const session = await sessionOf(worker);
    expect(await session.push(release(1, '{}'))).toEqual({ kind: 'acknowledged' }); // a round trip: the reports are there
    expect(acks).toEqual([]);
    letGo();
    await eventually('all are acknowledged', () => acks.length === 5);
    expect(acks).toEqual([1, 2, 3, 4, 5]);
    expect(worker.reports).toEqual([1, 2, 3, 4, 5]);
  });

  test('a validation is asked and answered; a silent agent is a missed deadline', async () => {
    const worker = new Worker();
    const connection = await dial(await start(worker), {
      onValidate: ({ requestId, json }) => {
        if (json.length < 5) connection.sendValidated({ requestId, ok: false, message: 'too short', durationMs: 1 });
      },
    });
    const session = await sessionOf(worker);
    expect(await session.validate(Buffer.from('{}'), 5_000)).toMatchObject({ ok: false, message: 'too short' });
    await expect(session.validate(Buffer.from('{"a":1}'), 100)).rejects.toThrow('within 100 ms');
  });
});

describe('who may connect', () => {
  test('a bad token is told so', async () => {
    const port = await start(new Worker());
    await expect(dial(port, { token: 'bad' })).rejects.toThrow('token_invalid');
  });

  test('a worker that is not there is an error, not a wait', async () => {
    const port = await start(new Worker());
    await server?.close();
    server = undefined;
    await expect(dial(port, { connectTimeoutMs: 2_000 })).rejects.toThrow('127.0.0.1');
  });

  test('only loopback without being told otherwise', async () => {
    await expect(startDeliveryServer({ host: '0.0.0.0', port: 0, handlers: new Worker(), log })).rejects.toMatchObject({
      code: 'listen_not_loopback',
    });
  });

  test('a taken port is said', async () => {
    const port = await start(new Worker());
    await expect(startDeliveryServer({ host: '127.0.0.1', port, handlers: new Worker(), log })).rejects.toMatchObject({
      code: 'address_in_use',
    });
  });

  test('garbage on the port hurts nobody', async () => {
    const worker = new Worker();
    const port = await start(worker);
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.end('GET / HTTP/1.1\r\n\r\n');
    await dial(port);
    const session = await sessionOf(worker);
    expect(await session.push(release(1, '{}'))).toEqual({ kind: 'acknowledged' });
  });

  test('a stream that cannot be opened ends at once, for both sides, and the next is opened', async () => {
    const worker = new Worker();
    const port = await start(worker);
    worker.refuseOpening = 'the database is away';
    await expect(dial(port)).rejects.toThrow('internal error');
    expect(worker.closedBecause).toEqual(['the database is away']);
    worker.refuseOpening = undefined;
    await dial(port);
  });
});
