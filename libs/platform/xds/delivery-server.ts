import { randomUUID } from 'node:crypto';

import { type Metadata, Server, ServerCredentials, type ServiceDefinition, type StatusObject, status } from '@grpc/grpc-js';

import { DomainError, type ErrorKind } from '#platform/kernel/errors.js';
import type { Log } from '#platform/log/log.js';
import { type AdsEndpoint, adsService } from './ads-endpoint.js';
import { DeliverySession, type DiscoveryCall, type ReportsCall } from './delivery-session.js';
import type { SotwCall } from './envoy-session.js';
import { type AgentMessage, type Hello, type Report, ReportsService, type Stats, type Status, type Welcome } from './generated/delivery.js';
import type { DeltaDiscoveryRequest } from './generated/discovery.js';
import { presentedToken } from './server-credentials.js';

/** Who presented a token. */
export interface AgentIdentity {
  readonly id: string;
  readonly scopes: readonly string[];
  readonly actor: string;
}

/**
 * What the worker does with what agents say. Messages of one agent come one at a time, in order; agents do not wait for each
 * other. A thrown DomainError ends that agent's stream with its message, anything else is logged and ends it too.
 */
export interface DeliveryHandlers {
  /** The identity behind a bearer token; undefined for a bad one. */
  authenticate(token: string): Promise<AgentIdentity | undefined>;
  /** Enrols the agent or throws; the session can be pushed to afterwards. */
  opened(session: DeliverySession, identity: AgentIdentity): Promise<Omit<Welcome, 'session'>>;
  status(session: DeliverySession, status: Status): Promise<void>;
  /** The report is acknowledged when this resolves: it must be stored by then. With `later` the handlers acknowledge it themselves, or never. */
  report(session: DeliverySession, report: Report): Promise<'taken' | 'later'>;
  stats(session: DeliverySession, stats: Stats): Promise<void>;
  /** The agent can be pushed to: its discovery stream has subscribed. Called once more when it has asked for live releases. */
  subscribed(session: DeliverySession): void;
  closed(session: DeliverySession, reason: string): void;
}

export interface DeliveryServerOptions {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  readonly handlers: DeliveryHandlers;
  readonly log: Log;
  /** Envoys that dial in themselves, on the same port: their streams name no session of an agent's. Without it they are refused. */
  readonly envoys?: Pick<AdsEndpoint, 'delta' | 'sotw'>;
  /** TLS in which both sides show a certificate. Without it the port is open to this machine alone. */
  readonly credentials?: ServerCredentials;
  readonly helloTimeoutMs?: number;
  readonly ackTimeoutMs?: number;
  readonly keepaliveMs?: number;
}

export interface DeliveryServer {
  readonly port: number;
  /** Ends every session and stops listening. */
  close(): Promise<void>;
}

const kindToStatus: Partial<Record<ErrorKind, status>> = {
  malformed: status.INVALID_ARGUMENT,
  invalid: status.INVALID_ARGUMENT,
  unauthenticated: status.UNAUTHENTICATED,
  forbidden: status.PERMISSION_DENIED,
  not_found: status.NOT_FOUND,
  unavailable: status.UNAVAILABLE,
};

/**
 * Listens for agents. The protocol is described in proto/delivery.proto.
 * @throws DomainError invalid `listen_not_loopback` for another address without TLS; conflict `address_in_use` when the port is taken.
 */
export async function startDeliveryServer(options: DeliveryServerOptions): Promise<DeliveryServer> {
  if (options.credentials === undefined && !['127.0.0.1', '::1', 'localhost'].includes(options.host)) {
    throw new DomainError(
      'invalid',
      'listen_not_loopback',
      `Agents would connect to ${options.host} without TLS: listen on loopback, or give the worker a certificate.`,
    );
  }
  const keepaliveMs = options.keepaliveMs ?? 10_000;
  const server = new Server({
    'grpc.keepalive_time_ms': keepaliveMs,
    'grpc.keepalive_timeout_ms': keepaliveMs,
    'grpc.max_receive_message_length': 8 * 1024 * 1024,
    'grpc.max_send_message_length': -1,
  });
  const sessions = new SessionSet(options);
  server.addService(ReportsService as unknown as ServiceDefinition, { connect: (call: ReportsCall) => void sessions.reports(call) });
  server.addService(adsService, {
    deltaAggregatedResources: (call: DiscoveryCall) => {
      if (call.metadata.get('chancery-session').length > 0) void sessions.discovery(call);
      else if (options.envoys === undefined) fail(call, status.FAILED_PRECONDITION, 'no such session: open Reports.Connect first');
      else options.envoys.delta(call);
    },
    streamAggregatedResources: (call: SotwCall) => {
      if (options.envoys === undefined) fail(call, status.UNIMPLEMENTED, 'agents speak the delta protocol');
      else options.envoys.sotw(call);
    },
  });
  const host = options.host.includes(':') ? `[${options.host}]` : options.host;
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`${host}:${options.port}`, options.credentials ?? ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else
        reject(
          new DomainError('conflict', 'address_in_use', `Cannot listen on ${host}:${options.port}: ${error.message}`, { cause: error }),
        );
    });
  });
  return {
    port,
    close: async () => {
      sessions.closeAll('the worker stops');
      await new Promise<void>((resolve) => {
        const timer = setTimeout(() => server.forceShutdown(), 1_000);
        server.tryShutdown(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    },
  };
}

class SessionSet {
  readonly #sessions = new Map<string, { session: DeliverySession; identity: AgentIdentity }>();

  constructor(readonly options: DeliveryServerOptions) {}

  closeAll(reason: string): void {
    for (const { session } of this.#sessions.values()) session.close(reason);
  }

  async reports(call: ReportsCall): Promise<void> {
    call.on('cancelled', () => call.destroy());
    let session: DeliverySession | undefined;
    const helloTimer = setTimeout(() => fail(call, status.DEADLINE_EXCEEDED, 'no hello'), this.options.helloTimeoutMs ?? 10_000);
    try {
      const identity = await this.#identify(call.metadata);
      // What fails below must reach the agent as a status, for which the stream must not be destroyed: it would wait for its welcome in vain.
      for await (const message of call.iterator({ destroyOnReturn: false }) as AsyncIterable<AgentMessage>) {
        if (session === undefined) {
          session = this.#begin(call, message);
          await this.#open(call, session, identity);
          clearTimeout(helloTimer);
        } else {
          if (session.closedBecause !== undefined) break;
          await this.#handle(session, message);
        }
      }
      session?.close('the agent ended its stream');
      if (session === undefined) call.end();
    } catch (error) {
      this.#ended(call, session, error);
    } finally {
      clearTimeout(helloTimer);
    }
  }

  async discovery(call: DiscoveryCall): Promise<void> {
    call.on('cancelled', () => call.destroy());
    let attached: DeliverySession | undefined;
    try {
      const identity = await this.#identify(call.metadata);
      const found = this.#sessions.get(String(call.metadata.get('chancery-session')[0] ?? ''));
      if (found === undefined || found.identity.id !== identity.id) {
        fail(call, status.FAILED_PRECONDITION, 'no such session: open Reports.Connect first');
        return;
      }
      attached = found.session;
      attached.attach(call);
      let announced = false;
      for await (const request of call as AsyncIterable<DeltaDiscoveryRequest>) {
        const askedForLive = attached.asksForLive;
        attached.receive(request);
        if (!announced || attached.asksForLive !== askedForLive) this.options.handlers.subscribed(attached);
        announced = true;
      }
      call.end();
    } catch (error) {
      if (attached === undefined) this.#ended(call, undefined, error);
      else if (!call.cancelled) this.options.log.error({ err: error, target: attached.target }, 'an agent stream failed');
    } finally {
      attached?.detach(call);
    }
  }

  async #identify(metadata: Metadata): Promise<AgentIdentity> {
    const token = presentedToken(metadata);
    const identity = token === undefined ? undefined : await this.options.handlers.authenticate(token);
    if (identity === undefined)
      throw new DomainError('unauthenticated', 'token_invalid', 'The token is missing, wrong, expired or revoked.');
    return identity;
  }

  #begin(call: ReportsCall, message: AgentMessage): DeliverySession {
    if (message.message?.$case !== 'hello') throw new DomainError('malformed', 'hello_expected', 'The first message must be a hello.');
    const hello: Hello = message.message.hello;
    return new DeliverySession(randomUUID(), hello, {
      reports: call,
      ackTimeoutMs: this.options.ackTimeoutMs ?? 30_000,
      onClosed: (closed, reason) => {
        this.#sessions.delete(closed.id);
        this.options.handlers.closed(closed, reason);
      },
    });
  }

  async #open(call: ReportsCall, session: DeliverySession, identity: AgentIdentity): Promise<void> {
    const welcome = await this.options.handlers.opened(session, identity);
    this.#sessions.set(session.id, { session, identity });
    call.write({ message: { $case: 'welcome', welcome: { session: session.id, ...welcome } } });
  }

  async #handle(session: DeliverySession, { message }: AgentMessage): Promise<void> {
    switch (message?.$case) {
      case 'status':
        return this.options.handlers.status(session, message.status);
      case 'stats':
        return this.options.handlers.stats(session, message.stats);
      case 'validated':
        return session.takeValidated(message.validated);
      case 'report':
        if ((await this.options.handlers.report(session, message.report)) === 'taken') session.acknowledge(message.report.id);
        return;
      case 'hello':
        throw new DomainError('malformed', 'hello_twice', 'A stream says hello once.');
      default: // a message of a newer agent: not for us
    }
  }

  #ended(call: ReportsCall | DiscoveryCall, session: DeliverySession | undefined, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    // Not "destroyed": that it is too when what was made of its messages failed.
    if (!(error instanceof DomainError) && !call.cancelled) {
      this.options.log.error({ err: error, target: session?.target }, 'an agent stream failed');
    }
    const code = error instanceof DomainError ? (kindToStatus[error.kind] ?? status.FAILED_PRECONDITION) : status.INTERNAL;
    if (!call.cancelled && !call.destroyed) fail(call, code, error instanceof DomainError ? `${error.code}: ${reason}` : 'internal error');
    session?.close(call.cancelled || call.destroyed ? 'the connection was lost' : reason);
  }
}

function fail(call: ReportsCall | DiscoveryCall | SotwCall, code: status, details: string): void {
  const failure: Partial<StatusObject> = { code, details };
  call.emit('error', failure);
}
