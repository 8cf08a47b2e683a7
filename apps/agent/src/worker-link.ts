import { setTimeout as pause } from 'node:timers/promises';
import type { Release } from '#platform/envoy/release-store.js';
import type { Log } from '#platform/log/log.js';
import { type AgentConnection, type AgentTls, connectAgent, DeliveryRefusal } from '#platform/xds/agent-connection.js';
import type { Hello, LiveRelease, Report, Stats, Status, Validated, ValidateRequest } from '#platform/xds/generated/delivery.js';
import type { FenceDecision } from './fence.js';
import type { ReportJournal } from './journal.js';
import { IncompleteReleaseError, ReleaseAssembly } from './release-assembly.js';

export interface WorkerLinkOptions {
  readonly address: string;
  readonly token: string;
  /** Read anew at each connection: certificates are renewed. */
  readonly tls: () => AgentTls | undefined;
  readonly log: Log;
  readonly journal: ReportJournal;
  /** Said anew at each connection: status and fence change. */
  readonly hello: () => Hello;
  /** What was delivered before and need not be sent again. */
  readonly held: () => Release | null;
  readonly status: () => Status;
  readonly stats: () => Promise<Stats | null>;
  readonly accept: (release: Release) => FenceDecision;
  readonly acceptLive: (release: LiveRelease) => FenceDecision;
  /** Resolves when the disk has the live releases that were accepted. */
  readonly liveStored: () => Promise<void>;
  readonly validate: (request: ValidateRequest) => Promise<Validated>;
  readonly failpoint: (name: string) => void;
}

/**
 * Waits between two attempts: from the first to the last, each drawn between half and whole, so that a fleet spreads out. They grow by half, not to
 * double: the last wait is then no more than a third of the whole outage, and a worker that is back after two seconds has its agents within one more.
 */
const FIRST_WAIT_MS = 100;
const GROWTH = 1.5;
const LAST_WAIT_MS = 5000;
/** A status is sent when it changes, and this often all the same: a silent agent is away. */
const HEARTBEAT_MS = 3000;
const DEFAULT_STATS_MS = 5000;
/** So long may a change of the status wait for those that follow it: of a live release nobody has to see each step. */
const STATUS_WITHIN_MS = 100;

/** The line to a worker: held for ever, dialled again when it breaks. Whatever happens to it, Envoy is not touched. */
export class WorkerLink {
  readonly #options: WorkerLinkOptions;
  readonly #ending = new AbortController();
  #connection: AgentConnection | null = null;
  #lastStatus = '';
  #statusTimer: NodeJS.Timeout | undefined;
  #lastProblem = '';
  #validations: Promise<unknown> = Promise.resolve();

  constructor(options: WorkerLinkOptions) {
    this.#options = options;
  }

  get connected(): boolean {
    return this.#connection !== null;
  }

  /** Connects, and again, until `close`. */
  async run(): Promise<void> {
    let waitMs = FIRST_WAIT_MS;
    while (!this.#ending.signal.aborted) {
      const connectedAt = performance.now();
      const reason = await this.#session();
      if (this.#ending.signal.aborted) return;
      // A connection that held is no failure: the next begins with short waits again.
      if (performance.now() - connectedAt > LAST_WAIT_MS) waitMs = FIRST_WAIT_MS;
      if (reason !== this.#lastProblem) this.#options.log.warn({ worker: this.#options.address, reason }, 'no worker: trying again');
      this.#lastProblem = reason;
      await pause(waitMs * (0.5 + Math.random() / 2), undefined, { signal: this.#ending.signal }).catch(() => {}); // aborted: the loop ends
      waitMs = Math.min(LAST_WAIT_MS, waitMs * GROWTH);
    }
  }

  close(): void {
    this.#ending.abort();
    clearTimeout(this.#statusTimer);
    this.#connection?.close();
  }

  /** Sends a report that is in the journal already; without a connection the next one sends it. */
  send(report: Report): void {
    this.#options.failpoint('agent.beforeReportSent');
    this.#connection?.sendReport(report);
  }

  /** Sends the status when it differs from the last one sent. */
  statusChanged(): void {
    const status = this.#options.status();
    const text = JSON.stringify(status);
    if (this.#connection === null || text === this.#lastStatus) return;
    this.#lastStatus = text;
    this.#connection.sendStatus(status);
  }

  /** The same a moment later, with what has changed meanwhile. */
  statusChanging(): void {
    this.#statusTimer ??= setTimeout(() => {
      this.#statusTimer = undefined;
      this.statusChanged();
    }, STATUS_WITHIN_MS);
  }

  /** One connection, from dialling to its end; answers why it ended. */
  async #session(): Promise<string> {
    const { address, token, journal, log } = this.#options;
    const assembly = new ReleaseAssembly(this.#options.held());
    let ended: (reason: string) => void = () => {};
    const end = new Promise<string>((resolve) => {
      ended = resolve;
    });
    let connection: AgentConnection;
    try {
      connection = await connectAgent({
        address,
        token,
        tls: this.#options.tls(),
        hello: this.#options.hello(),
        held: assembly.versions(),
        onResources: (push) => this.#take(assembly, push),
        onReportAck: (id) => journal.acknowledge(id),
        onValidate: (request) => this.#validate(request),
        onClosed: (reason) => ended(reason),
      });
    } catch (error) {
      return (error as Error).message;
    }
    this.#connection = connection;
    this.#lastProblem = '';
    this.#lastStatus = '';
    if (this.#ending.signal.aborted) connection.close();
    log.info({ worker: address, session: connection.welcome.session, term: connection.welcome.term }, 'connected to a worker');
    for (const report of journal.waiting) this.send(report);
    this.statusChanged();
    const heartbeat = setInterval(() => {
      this.#lastStatus = '';
      this.statusChanged();
    }, HEARTBEAT_MS);
    const stats = setInterval(() => void this.#sendStats(connection), connection.welcome.statsIntervalMs || DEFAULT_STATS_MS);
    try {
      return await end;
    } finally {
      clearInterval(heartbeat);
      clearInterval(stats);
      this.#connection = null;
    }
  }

  async #take(assembly: ReleaseAssembly, push: Parameters<Parameters<typeof connectAgent>[0]['onResources']>[0]): Promise<void> {
    assembly.take(push.resources, { typeUrl: push.typeUrl, names: push.removed });
    for (const resource of push.resources) {
      if (resource.kind !== 'manifest' && resource.kind !== 'live') continue;
      const { releaseId } = resource.kind === 'live' ? resource.release : resource.manifest;
      const decision = this.#accept(releaseId, () =>
        resource.kind === 'live' ? this.#options.acceptLive(resource.release) : this.#options.accept(assembly.assemble(resource.manifest)),
      );
      if (!decision.accept) {
        this.#options.log.warn({ release: releaseId, code: decision.code }, decision.message);
        throw new DeliveryRefusal(`${decision.code}: ${decision.message}`);
      }
      if (resource.kind === 'live') await this.#options.liveStored(); // Envoy has it meanwhile
    }
  }

  #accept(releaseId: string, accept: () => FenceDecision): FenceDecision {
    try {
      return accept();
    } catch (error) {
      if (error instanceof IncompleteReleaseError) return { accept: false, code: 'incomplete', message: error.message };
      this.#options.log.error({ err: error, release: releaseId }, 'a release could not be stored');
      return { accept: false, code: 'not_stored', message: `the node could not store it: ${(error as Error).message}` };
    }
  }

  /** One validation at a time: each is a whole Envoy. */
  #validate(request: ValidateRequest): void {
    this.#validations = this.#validations.then(async () => {
      try {
        this.#connection?.sendValidated(await this.#options.validate(request));
      } catch (error) {
        // No answer: the worker's own deadline tells an unknown outcome from a refusal.
        this.#options.log.error({ err: error, request: request.requestId }, 'a validation could not be run');
      }
    });
  }

  async #sendStats(connection: AgentConnection): Promise<void> {
    try {
      const stats = await this.#options.stats();
      if (stats !== null) connection.sendStats(stats);
    } catch (error) {
      this.#options.log.warn({ err: error }, 'the statistics could not be read');
    }
  }
}
