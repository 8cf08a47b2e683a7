import type { StreamOwner } from '#features/rollout/target-stream.table.js';
import type { Db } from '#platform/database/database.js';
import { refusalReason } from '#platform/envoy/refusal-reason.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Log } from '#platform/log/log.js';
import { AdsEndpoint } from '#platform/xds/ads-endpoint.js';
import type { AgentIdentity } from '#platform/xds/delivery-server.js';
import type { AdsCaller, EnvoySession, HeldBack, Rejection } from '#platform/xds/envoy-session.js';
import type { EnvoyStream } from '#platform/xds/envoy-stream.js';
import { presentedToken } from '#platform/xds/server-credentials.js';
import type { ResourceKey } from '#platform/xds/xds-resource.js';
import type { GatewayPublisher } from '../live/gateway-publisher.js';
import type { LiveLane } from '../live/live-lane.js';
import { checkTargetNames, mayServe } from './agent-rights.js';
import { EnvoyRows } from './envoy-rows.js';
import { type SharedNode, SharedNodes } from './shared-nodes.js';

export interface StockEnvoysOptions {
  readonly db: Db;
  readonly worker: string;
  readonly log: Log;
  /** Who presents this token; undefined for a bad one. */
  authenticate(token: string): Promise<AgentIdentity | undefined>;
  /** Whose certificate the connection has; undefined without mutual TLS. */
  certificateOf(caller: AdsCaller): string | undefined;
  publisher(gateway: string): GatewayPublisher | undefined;
  onRefused(lane: LiveLane, resources: readonly ResourceKey[], message: string): Promise<void>;
}

/** How long the others have to take what one of them refuses. Milliseconds. */
const JUDGED_AFTER_MS = 1_000;

/** One Envoy that dials the worker itself. It has no fence, no last known good and no proof: what it acknowledges is all that is known of it. */
interface StockEnvoy {
  readonly owner: StreamOwner;
  readonly lane: LiveLane;
  /** What it has beside the lane, together with all who have the same. */
  readonly beside: SharedNode;
  stream: EnvoyStream | undefined;
  error: string;
}

/** The Envoys without agents that are connected to this worker, by their real ADS streams. */
export class StockEnvoys {
  readonly endpoint: AdsEndpoint;
  readonly #options: StockEnvoysOptions;
  readonly #envoys = new Map<EnvoySession, StockEnvoy>();
  readonly #nodes = new SharedNodes();
  readonly #rows: EnvoyRows;

  constructor(options: StockEnvoysOptions) {
    this.#options = options;
    this.#rows = new EnvoyRows(options.db, (err) =>
      options.log.warn({ err }, 'the rows of Envoys could not be written; it is tried again'),
    );
    this.endpoint = new AdsEndpoint({
      log: options.log,
      open: (caller) => this.#open(caller),
      opened: (stream) => {
        const envoy = this.#envoys.get(stream.session);
        if (envoy !== undefined) envoy.stream = stream;
      },
    });
  }

  owners(): StreamOwner[] {
    return [...this.#envoys.values()].map(({ owner }) => owner);
  }

  /** A lane of the gateway has changed. Who is to be on another one dials again, when that is made: what it has acknowledged it says then. */
  update(publisher: GatewayPublisher): void {
    const behind: EnvoyStream[] = [];
    for (const { lane, owner, stream } of this.#envoys.values()) {
      if (lane.source.gateway !== publisher.gateway) continue;
      const wanted = publisher.laneOf(owner.target);
      if (lane === wanted) {
        if (stream !== undefined) behind.push(stream);
      } else if (wanted?.version !== 0) stream?.close('this Envoy is to have another configuration');
    }
    this.#nodes.refresh(publisher.gateway);
    this.endpoint.update(behind);
  }

  /** Ends the streams of targets that another worker holds now. */
  lost(owner: StreamOwner): void {
    for (const envoy of this.#envoys.values()) if (envoy.owner === owner) envoy.stream?.close('another stream of this target was opened');
  }

  async close(): Promise<void> {
    this.endpoint.close('the worker stops');
    await this.#rows.close();
  }

  async #open(caller: AdsCaller): Promise<EnvoySession> {
    const { worker, log } = this.#options;
    const { id: name, cluster: gateway } = caller.node;
    checkTargetNames(name, gateway);
    await this.#admit(caller);
    this.#laneOf(gateway, name);
    const facts = { protocol: caller.protocol, peer: caller.peer };
    const opened = await this.#rows.open({ name, gateway, worker, facts, newSecret: this.#nodes.secretOf(gateway) });
    const owner = { target: name, term: opened.term };
    const lane = this.#laneOf(gateway, name, () => this.#rows.gone(owner)); // it may be another one since
    const envoy: StockEnvoy = {
      owner,
      lane,
      beside: this.#nodes.join(lane, opened.proofSecret),
      stream: undefined,
      error: '',
    };
    const session = this.#session(envoy);
    this.#envoys.set(session, envoy);
    log.info({ target: name, gateway, protocol: caller.protocol }, 'an Envoy without an agent has connected');
    return session;
  }

  /**
   * What others of the lane have taken in this very version is not at fault: it is this Envoy, and no reason to look for a mapping to set aside, which would
   * send something else to all of them. Who is alone on its lane has nobody to be compared with.
   */
  #judge(envoy: StockEnvoy, { key, version, message }: Rejection): void {
    const { lane, owner } = envoy;
    const judge = () => {
      const others = this.#othersOf(envoy);
      if (others.some(({ stream }) => stream?.has(key, version))) return;
      // Of a version that was superseded meanwhile nobody can say that he has it: then it counts what becomes of those that follow.
      const refusing = others.filter(({ stream }) => stream?.refuses(key));
      if (lane.set.get(key)?.version !== version && 2 * refusing.length < others.length) return;
      this.#options
        .onRefused(lane, [key], message)
        .catch((err: unknown) => this.#options.log.warn({ err, target: owner.target }, 'the cause of a refusal could not be found'));
    };
    if (this.#othersOf(envoy).length === 0) judge();
    else setTimeout(judge, JUDGED_AFTER_MS).unref();
  }

  #othersOf(envoy: StockEnvoy): StockEnvoy[] {
    return [...this.#envoys.values()].filter((other) => other !== envoy && other.lane === envoy.lane);
  }

  #laneOf(gateway: string, name: string, onNone?: () => void): LiveLane {
    const publisher = this.#options.publisher(gateway);
    const lane = publisher?.laneOf(name);
    if (lane !== undefined && lane.version !== 0) return lane;
    onNone?.();
    if (publisher === undefined) throw new DomainError('not_found', 'gateway_not_found', `There is no gateway ${gateway}.`);
    throw new DomainError('unavailable', 'gateway_not_live', `The gateway ${gateway} is not delivered live, or not ready yet.`);
  }

  /** A token of an agent's scope, or a certificate that names the node. */
  async #admit(caller: AdsCaller): Promise<void> {
    const { id } = caller.node;
    if (this.#options.certificateOf(caller) === id) return;
    const token = presentedToken(caller.headers);
    const identity = token === undefined ? undefined : await this.#options.authenticate(token);
    if (identity === undefined)
      throw new DomainError(
        'unauthenticated',
        'token_invalid',
        `The token is missing, wrong, expired or revoked, and no certificate names ${id}.`,
      );
    mayServe(identity, id);
  }

  #session(envoy: StockEnvoy): EnvoySession {
    const { log } = this.#options;
    const { lane, owner, beside } = envoy;
    const session: EnvoySession = {
      sets: [lane.set, beside.set],
      systemVersion: () => String(lane.version),
      onRejected: (rejection: Rejection) => {
        const message = refusalReason(rejection.message);
        envoy.error = `${rejection.key.name}: ${message}`;
        this.#judge(envoy, { ...rejection, message });
      },
      onHeldBack: (held: readonly HeldBack[]) => {
        if (held.length > 0)
          log.warn({ target: owner.target, waitsFor: held.flatMap(({ waitsFor }) => waitsFor) }, 'routes wait for their clusters');
      },
      onSettled: (revision: number) => {
        if (revision !== lane.set.revision + beside.set.revision) return; // not all of what the lane holds at its version
        if (envoy.error !== '' && envoy.stream?.rejected.size === 0) envoy.error = '';
        this.#rows.acknowledged(owner, { version: lane.version, error: envoy.error });
      },
      onClosed: (reason: string) => {
        this.#envoys.delete(session);
        log.info({ target: owner.target, reason }, 'an Envoy without an agent has gone');
        this.#nodes.leave(lane, beside);
        this.#rows.gone(owner);
      },
    };
    return session;
  }
}
