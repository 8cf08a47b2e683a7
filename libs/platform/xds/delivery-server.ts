import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http2';

import { messagesOf } from '#platform/grpc/call-messages.js';
import { GrpcServer, type MutualTls, streaming } from '#platform/grpc/grpc-server.js';
import { Status as GrpcStatus } from '#platform/grpc/status.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Log } from '#platform/log/log.js';
import { ADS_MESSAGE_BYTES, type AdsMethods, adsService } from './ads-endpoint.js';
import { DeliverySession, type DiscoveryCall, type ReportsCall } from './delivery-session.js';
import { endWith } from './end-with.js';
import {
  AgentMessage,
  type Hello,
  type Report,
  ReportsService,
  type Stats,
  type Status,
  type Welcome,
  WorkerMessage,
} from './generated/delivery.js';
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
  readonly envoys?: AdsMethods;
  /** TLS in which both sides show a certificate. Without it the port is open to this machine alone. */
  readonly credentials?: MutualTls;
  readonly helloTimeoutMs?: number;
  readonly ackTimeoutMs?: number;
  readonly keepaliveMs?: number;
}

export interface DeliveryServer {
  readonly port: number;
  /** Ends every session and stops listening. */
  close(): Promise<void>;
}

const SESSION_HEADER = 'chancery-session';
const NO_SESSION = 'no such session: open Reports.Connect first';
/** How long streams have to end when the worker stops. */
const GRACE_MS = 1_000;

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
  const { host, port, keepaliveMs, credentials } = options;
  const sessions = new SessionSet(options);
  const server = await GrpcServer.listen(
    { host, port },
    {
      methods: {
        [ReportsService.connect.path]: streaming(AgentMessage.decode, sessions.reports),
        ...adsService(discovery(sessions, options)),
      },
      maxMessageBytes: ADS_MESSAGE_BYTES,
      ...(keepaliveMs === undefined ? {} : { keepaliveMs }),
      ...(credentials === undefined ? {} : { tls: credentials }),
    },
  ).catch((cause: Error) => {
    throw new DomainError('conflict', 'address_in_use', `Cannot listen on ${host}:${port}: ${cause.message}`, { cause });
  });
  return {
    port: server.port,
    close: () => {
      sessions.closeAll('the worker stops');
      return server.close(GRACE_MS);
    },
  };
}

/** Agents name the session that they opened; whoever names none is an Envoy. */
function discovery(sessions: SessionSet, { envoys }: DeliveryServerOptions): AdsMethods {
  return {
    delta(call, headers) {
      if (headers[SESSION_HEADER] !== undefined) void sessions.discovery(call, headers);
      else if (envoys === undefined) call.end(GrpcStatus.FAILED_PRECONDITION, NO_SESSION);
      else envoys.delta(call, headers);
    },
    sotw(call, headers) {
      if (envoys === undefined) call.end(GrpcStatus.UNIMPLEMENTED, 'agents speak the delta protocol');
      else envoys.sotw(call, headers);
    },
  };
}

class SessionSet {
  readonly #sessions = new Map<string, { session: DeliverySession; identity: AgentIdentity }>();

  constructor(readonly options: DeliveryServerOptions) {}

  closeAll(reason: string): void {
    for (const { session } of this.#sessions.values()) session.close(reason);
  }

  readonly reports = async (call: ReportsCall, headers: IncomingHttpHeaders): Promise<void> => {
    let session: DeliverySession | undefined;
    const helloTimer = setTimeout(() => call.end(GrpcStatus.DEADLINE_EXCEEDED, 'no hello'), this.options.helloTimeoutMs ?? 10_000);
    try {
      const identity = await this.#identify(headers);
      for await (const message of messagesOf(call)) {
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
  };

  async discovery(call: DiscoveryCall, headers: IncomingHttpHeaders): Promise<void> {
    let attached: DeliverySession | undefined;
    try {
      const identity = await this.#identify(headers);
      const found = this.#sessions.get(String(headers[SESSION_HEADER]));
      if (found === undefined || found.identity.id !== identity.id) return call.end(GrpcStatus.FAILED_PRECONDITION, NO_SESSION);
      attached = found.session;
      attached.attach(call);
      let announced = false;
      for await (const request of messagesOf(call)) {
        const askedForLive = attached.asksForLive;
        attached.receive(request);
        if (!announced || attached.asksForLive !== askedForLive) this.options.handlers.subscribed(attached);
        announced = true;
      }
      call.end();
    } catch (error) {
      if (attached === undefined) this.#ended(call, undefined, error);
      else if (!call.isCancelled) this.options.log.error({ err: error, target: attached.target }, 'an agent stream failed');
    } finally {
      attached?.detach(call);
    }
  }

  async #identify(headers: IncomingHttpHeaders): Promise<AgentIdentity> {
    const token = presentedToken(headers);
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
    call.write(WorkerMessage.encode({ message: { $case: 'welcome', welcome: { session: session.id, ...welcome } } }).finish());
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
    const isGone = call.isCancelled;
    if (!(error instanceof DomainError) && !isGone)
      this.options.log.error({ err: error, target: session?.target }, 'an agent stream failed');
    endWith(call, error);
    session?.close(isGone ? 'the connection was lost' : reason);
  }
}
