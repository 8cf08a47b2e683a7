import { type ChannelCredentials, type ClientDuplexStream, credentials, Metadata } from '@grpc/grpc-js';

import {
  type AgentMessage,
  type Hello,
  type Report,
  ReportsClient,
  type Stats,
  type Status,
  type Validated,
  type ValidateRequest,
  type Welcome,
  type WorkerMessage,
} from './generated/delivery.js';
import { AggregatedDiscoveryServiceClient, type DeltaDiscoveryRequest, type DeltaDiscoveryResponse } from './generated/discovery.js';
import { DELIVERY_TYPES, type DeliveredResource, decodeResource, LIVE_TYPE } from './resource.js';

/** Thrown by `onResources` to refuse a push: the message goes to the worker as the reason (NACK). */
export class DeliveryRefusal extends Error {
  constructor(reason: string) {
    super(reason);
    this.name = 'DeliveryRefusal';
  }
}

/** PEM. Without a certificate of its own the agent is known by its token alone. */
export interface AgentTls {
  /** Whom a worker's certificate must be from. */
  readonly ca: Buffer;
  readonly cert: Buffer | undefined;
  readonly key: Buffer | undefined;
}

export interface AgentConnectionOptions {
  /** `host:port` of a worker. */
  readonly address: string;
  readonly token: string;
  /** Undefined: in the clear, which a worker takes on loopback only. */
  readonly tls?: AgentTls | undefined;
  readonly hello: Hello;
  /** What the agent holds from before, by type URL and name: the version. Those are not sent again. */
  readonly held?: ReadonlyMap<string, ReadonlyMap<string, string>>;
  /** Keepalive period; a worker that does not answer within it again is dead. Milliseconds. */
  readonly keepaliveMs?: number;
  /** How long the connection and the welcome may take. Milliseconds. */
  readonly connectTimeoutMs?: number;
  /**
   * Called with each push, in order, one at a time over all types, in the moment in which it has come; the next waits until this resolves. Resolving
   * acknowledges it (for a release: it has passed the fence and is on disk), a DeliveryRefusal refuses it.
   */
  onResources(push: {
    readonly typeUrl: string;
    readonly resources: readonly DeliveredResource[];
    readonly removed: readonly string[];
  }): Promise<void>;
  onReportAck(reportId: number): void;
  onValidate(request: ValidateRequest): void;
  /** Once, when the connection is over, whoever ended it. Reconnecting is the caller's. */
  onClosed(reason: string): void;
}

/** An open connection to a worker. Sending on a closed one does nothing: the journal is the agent's memory. */
export interface AgentConnection {
  readonly welcome: Welcome;
  sendStatus(status: Status): void;
  sendReport(report: Report): void;
  sendStats(stats: Stats): void;
  sendValidated(result: Validated): void;
  close(): void;
}

/**
 * Dials a worker: hello, welcome, then the delta stream with a wildcard subscription to our types.
 * @throws Error when there is no welcome in time: the token is refused, the worker is not there, or it sent the agent away (the message says which).
 */
export function connectAgent(options: AgentConnectionOptions): Promise<AgentConnection> {
  return new Promise((resolve, reject) => new Connection(options, resolve, reject));
}

class Connection implements AgentConnection {
  readonly #options: AgentConnectionOptions;
  readonly #reportsClient: ReportsClient;
  readonly #reports: ClientDuplexStream<AgentMessage, WorkerMessage>;
  readonly #metadata = new Metadata();
  readonly #connectTimer: NodeJS.Timeout;
  #discoveryClient: AggregatedDiscoveryServiceClient | undefined;
  #discovery: ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> | undefined;
  /** What has come and is not answered; the first one is being taken. */
  readonly #responses: DeltaDiscoveryResponse[] = [];
  #welcome: Welcome | undefined;
  #closed = false;

  constructor(options: AgentConnectionOptions, welcomed: (connection: AgentConnection) => void, refused: (error: Error) => void) {
    this.#options = options;
    this.#metadata.set('authorization', `Bearer ${options.token}`);
    this.#reportsClient = new ReportsClient(options.address, credentialsOf(options.tls), this.#channelOptions());
    this.#reports = this.#reportsClient.connect(this.#metadata);
    this.#connectTimer = setTimeout(() => this.#end('no welcome in time', refused), options.connectTimeoutMs ?? 10_000);
    this.#reports.on('data', (message: WorkerMessage) => this.#receive(message, welcomed));
    this.#reports.on('error', (error) => this.#end(error.message, refused));
    this.#reports.on('end', () => this.#end('the worker ended the stream', refused));
    this.#reports.write({ message: { $case: 'hello', hello: options.hello } });
  }

  get welcome(): Welcome {
    if (this.#welcome === undefined) throw new Error('not welcomed yet');
    return this.#welcome;
  }

  sendStatus(status: Status): void {
    this.#send({ message: { $case: 'status', status } });
  }
  sendReport(report: Report): void {
    this.#send({ message: { $case: 'report', report } });
  }
  sendStats(stats: Stats): void {
    this.#send({ message: { $case: 'stats', stats } });
  }
  sendValidated(validated: Validated): void {
    this.#send({ message: { $case: 'validated', validated } });
  }

  close(): void {
    this.#end('closed by the agent', undefined);
  }

  #send(message: AgentMessage): void {
    if (!this.#closed && this.#welcome !== undefined) this.#reports.write(message);
  }

  #receive({ message }: WorkerMessage, welcomed: (connection: AgentConnection) => void): void {
    if (message?.$case === 'welcome') {
      clearTimeout(this.#connectTimer);
      this.#welcome = message.welcome;
      welcomed(this);
      this.#subscribe(message.welcome.session);
    } else if (message?.$case === 'reportAck') this.#options.onReportAck(message.reportAck.id);
    else if (message?.$case === 'validate') this.#options.onValidate(message.validate);
  }

  #subscribe(session: string): void {
    const metadata = this.#metadata.clone();
    metadata.set('chancery-session', session);
    // A client of its own is a channel of its own only if the options differ: both share the connection, as the protocol wants.
    this.#discoveryClient = new AggregatedDiscoveryServiceClient(
      this.#options.address,
      credentialsOf(this.#options.tls),
      this.#channelOptions(),
    );
    const call = this.#discoveryClient.deltaAggregatedResources(metadata);
    this.#discovery = call;
    call.on('error', (error) => this.#end(error.message, undefined));
    call.on('end', () => this.#end('the worker ended the stream', undefined));
    for (const typeUrl of [...DELIVERY_TYPES, LIVE_TYPE]) {
      const held = Object.fromEntries(this.#options.held?.get(typeUrl) ?? []);
      call.write(request({ typeUrl, resourceNamesSubscribe: ['*'], initialResourceVersions: held, nodeId: this.#options.hello.target }));
    }
    call.on('data', (response: DeltaDiscoveryResponse) => {
      this.#responses.push(response);
      // Within the event that brought it: an asynchronous iterator would come to it some turns later.
      if (this.#responses.length > 1) return;
      this.#takeResponses(call).catch((error: unknown) => this.#end(error instanceof Error ? error.message : String(error), undefined));
    });
  }

  async #takeResponses(call: ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>): Promise<void> {
    for (let [response] = this.#responses; response !== undefined; [response] = this.#responses) {
      const { typeUrl, nonce } = response;
      let refusal: string | undefined;
      try {
        const resources = response.resources.map((resource) => decodeResource(typeUrl, resource));
        await this.#options.onResources({ typeUrl, resources, removed: response.removedResources });
      } catch (error) {
        refusal = (error instanceof Error ? error.message : String(error)).slice(0, 2_000);
      }
      this.#responses.shift();
      if (this.#closed) return;
      call.write(request({ typeUrl, nonce, ...(refusal === undefined ? {} : { refusal }) }));
    }
  }

  #end(reason: string, refused: ((error: Error) => void) | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#connectTimer);
    this.#discovery?.cancel();
    this.#reports.cancel();
    this.#discoveryClient?.close();
    this.#reportsClient.close();
    if (this.#welcome === undefined) refused?.(new Error(`worker ${this.#options.address}: ${reason}`));
    else this.#options.onClosed(reason);
  }

  #channelOptions() {
    const keepaliveMs = this.#options.keepaliveMs ?? 10_000;
    return {
      'grpc.keepalive_time_ms': keepaliveMs,
      'grpc.keepalive_timeout_ms': keepaliveMs,
      'grpc.keepalive_permit_without_calls': 1,
      'grpc.max_receive_message_length': 512 * 1024 * 1024,
      'grpc.enable_retries': 0,
    };
  }
}

function credentialsOf(tls: AgentTls | undefined): ChannelCredentials {
  return tls === undefined ? credentials.createInsecure() : credentials.createSsl(tls.ca, tls.key ?? null, tls.cert ?? null);
}

function request(parts: {
  typeUrl: string;
  nonce?: string;
  refusal?: string;
  nodeId?: string;
  resourceNamesSubscribe?: string[];
  initialResourceVersions?: Record<string, string>;
}): DeltaDiscoveryRequest {
  return {
    node: parts.nodeId === undefined ? undefined : { id: parts.nodeId, cluster: '' },
    typeUrl: parts.typeUrl,
    resourceNamesSubscribe: parts.resourceNamesSubscribe ?? [],
    resourceNamesUnsubscribe: [],
    initialResourceVersions: parts.initialResourceVersions ?? {},
    responseNonce: parts.nonce ?? '',
    errorDetail: parts.refusal === undefined ? undefined : { code: 3, message: parts.refusal },
  };
}
