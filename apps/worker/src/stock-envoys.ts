import { randomBytes } from 'node:crypto';

import { nodeResources } from '#features/layout/node-resources.js';
import { openEnvoyStream, writeAcknowledged } from '#features/rollout/envoy-stream.table.js';
import { closeStream, type StreamOwner } from '#features/rollout/target-stream.table.js';
import type { Db } from '#platform/database/database.js';
import { refusalReason } from '#platform/envoy/refusal-reason.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Log } from '#platform/log/log.js';
import { AdsEndpoint } from '#platform/xds/ads-endpoint.js';
import type { AgentIdentity } from '#platform/xds/delivery-server.js';
import type { AdsCaller, EnvoySession, HeldBack, Rejection } from '#platform/xds/envoy-session.js';
import type { EnvoyStream } from '#platform/xds/envoy-stream.js';
import { ResourceSet } from '#platform/xds/resource-set.js';
import { presentedToken } from '#platform/xds/server-credentials.js';
import { type ResourceKey, resourceId } from '#platform/xds/xds-resource.js';

import { checkTargetNames, mayServe } from './agent-rights.js';
import type { GatewayPublisher } from './gateway-publisher.js';
import type { NodeSecrets } from './lane-secrets.js';
import type { LiveLane, NodeBasis } from './live-lane.js';

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

/** One Envoy that dials the worker itself. It has no fence, no last known good and no proof: what it acknowledges is all that is known of it. */
class StockEnvoy {
  readonly node = new ResourceSet();
  stream: EnvoyStream | undefined;
  error = '';
  #basis: NodeBasis | undefined;
  #secrets: NodeSecrets | undefined;
  #written = '';
  #writing: Promise<void> | undefined;

  constructor(
    readonly owner: StreamOwner,
    readonly lane: LiveLane,
    readonly proofSecret: string,
  ) {
    this.refresh();
  }

  /** Brings what the node has of its own up to the lane. */
  refresh(): void {
    const { basis, secrets, source } = this.lane;
    if (basis === this.#basis && secrets === this.#secrets) return;
    const { overlay } = nodeResources({
      gateway: source.gateway,
      ...basis,
      node: { http: null, https: null, proofSecret: this.proofSecret },
    });
    const own = [...overlay, ...secrets.resources];
    const names = new Set(own.map(resourceId));
    this.node.apply({ upserts: own, removed: [...this.node].filter((resource) => !names.has(resourceId(resource))) });
    this.#basis = basis;
    this.#secrets = secrets;
  }

  /** Everything that the lane holds at its version is acknowledged, refused or held back. */
  isSettled(revision: number): boolean {
    return revision === this.lane.set.revision + this.node.revision;
  }

  /** Writes the row, one write at a time, the newest only. */
  write(db: Db, version: number, onError: (err: unknown) => void): void {
    const text = `${version} ${this.error}`;
    if (text === this.#written) return;
    this.#written = text;
    this.#writing = (this.#writing ?? Promise.resolve()).then(async () => {
      if (text !== this.#written) return; // a newer one waits
      try {
        await writeAcknowledged(db, this.owner, { version, error: this.error });
      } catch (err) {
        this.#written = '';
        onError(err);
      }
    });
  }
}

/** The Envoys without agents that are connected to this worker, by their real ADS streams. */
export class StockEnvoys {
  readonly endpoint: AdsEndpoint;
  readonly #options: StockEnvoysOptions;
  readonly #envoys = new Map<EnvoySession, StockEnvoy>();

  constructor(options: StockEnvoysOptions) {
    this.#options = options;
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
    for (const envoy of this.#envoys.values()) {
      if (envoy.lane.source.gateway !== publisher.gateway) continue;
      const lane = publisher.laneOf(envoy.owner.target);
      if (envoy.lane !== lane) {
        if (lane?.version !== 0) envoy.stream?.close('this Envoy is to have another configuration');
        continue;
      }
      envoy.refresh();
      envoy.stream?.update();
    }
  }

  /** Ends the streams of targets that another worker holds now. */
  lost(owner: StreamOwner): void {
    for (const envoy of this.#envoys.values()) if (envoy.owner === owner) envoy.stream?.close('another stream of this target was opened');
  }

  close(): void {
    this.endpoint.close('the worker stops');
  }

  async #open(caller: AdsCaller): Promise<EnvoySession> {
    const { db, worker, log } = this.#options;
    const { id: name, cluster: gateway } = caller.node;
    checkTargetNames(name, gateway);
    await this.#admit(caller);
    const publisher = this.#options.publisher(gateway);
    if (publisher === undefined) throw new DomainError('not_found', 'gateway_not_found', `There is no gateway ${gateway}.`);
    const lane = publisher.laneOf(name);
    if (lane === undefined || lane.version === 0)
      throw new DomainError('unavailable', 'gateway_not_live', `The gateway ${gateway} is not delivered live, or not ready yet.`);
    const newSecret = randomBytes(24).toString('base64url');
    const facts = { protocol: caller.protocol, peer: caller.peer };
    const opened = await openEnvoyStream(db, { name, gateway, worker, facts, newSecret });
    const envoy = new StockEnvoy({ target: name, term: opened.term }, lane, opened.proofSecret);
    const session = this.#session(envoy);
    this.#envoys.set(session, envoy);
    log.info({ target: name, gateway, protocol: caller.protocol }, 'an Envoy without an agent has connected');
    return session;
  }

  /** A token of an agent's scope, or a certificate that names the node. */
  async #admit(caller: AdsCaller): Promise<void> {
    const { id } = caller.node;
    if (this.#options.certificateOf(caller) === id) return;
    const token = presentedToken(caller.metadata);
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
    const { db, log, onRefused } = this.#options;
    const { lane, owner } = envoy;
    const failed = (err: unknown) =>
      log.warn({ err, target: owner.target }, 'the row of an Envoy could not be written; the next change writes it');
    const session: EnvoySession = {
      sets: [lane.set, envoy.node],
      systemVersion: () => String(lane.version),
      onRejected: ({ key, ...rejection }: Rejection) => {
        const message = refusalReason(rejection.message);
        envoy.error = `${key.name}: ${message}`;
        onRefused(lane, [key], message).catch((err: unknown) =>
          log.warn({ err, target: owner.target }, 'the cause of a refusal could not be found'),
        );
      },
      onHeldBack: (held: readonly HeldBack[]) => {
        if (held.length > 0)
          log.warn({ target: owner.target, waitsFor: held.flatMap(({ waitsFor }) => waitsFor) }, 'routes wait for their clusters');
      },
      onSettled: (revision: number) => {
        if (!envoy.isSettled(revision)) return;
        if ((envoy.stream?.rejected.size ?? 0) === 0) envoy.error = '';
        envoy.write(db, lane.version, failed);
      },
      onClosed: (reason: string) => {
        this.#envoys.delete(session);
        log.info({ target: owner.target, reason }, 'an Envoy without an agent has gone');
        closeStream(db, owner).catch(failed);
      },
    };
    return session;
  }
}
