import type { HoldState } from '#features/promotion/promotion.js';
import type { Shrink } from '#features/promotion/shrink.js';
import { type AgentFacts, nextStep } from '#features/rollout/rollout.js';
import { readFacts, writeProvenVersion } from '#features/rollout/target-stream.table.js';
import type { Report } from '#platform/xds/generated/delivery.js';
import type { LiveAnswer } from '#platform/xds/live-stream.js';
import { LIVE_TYPE } from '#platform/xds/resource.js';
import type { ResourceKey } from '#platform/xds/xds-resource.js';

import type { FoldChange, GatewayFold } from '../fold/gateway-fold.js';
import type { SecretSource } from '../secrets/lane-secrets.js';
import type { SetAsideContext } from '../statuses/set-aside.js';
import type { TargetSession } from '../targets/target-session.js';
import { GatewayPublisher } from './gateway-publisher.js';
import type { LiveLane } from './live-lane.js';
import { LiveOutcomes, type LiveOutcomesOptions } from './live-outcomes.js';
import { LiveRefusals } from './live-refusals.js';
import type { LiveSession, SentRelease } from './live-session.js';

export interface LiveDeliveryOptions extends Pick<LiveOutcomesOptions, 'onRecord' | 'onEnd'> {
  readonly context: SetAsideContext;
  /** How long the outcome of a push is waited for. Milliseconds. */
  readonly pushDeadlineMs: number;
  readonly heldBackDeadlineMs: number;
  readonly secrets: SecretSource;
  sessions(): readonly TargetSession[];
  onAnswer(session: TargetSession, typeUrl: string, result: 'ack' | 'nack'): void;
  hold(gateway: string): HoldState | null;
  /** See PublisherOptions. */
  onVerdict(gateway: string, version: number, shrink: Shrink | undefined): void;
  /** A gateway can be written to as soon as this returns: its targets are to be on their lanes by then. */
  onPublisher(gateway: string): void;
  /** A lane of a gateway that is delivered live has changed, and the agents have been written to. */
  onLane(publisher: GatewayPublisher): void;
}

/** Towards a live agent nothing waits for a window or for another release. */
const READY: Pick<AgentFacts, 'state' | 'pending'> = { state: 'idle', pending: false };

/** The gateways that are delivered live, and what becomes of what is sent for them. */
export class LiveDelivery {
  readonly #options: LiveDeliveryOptions;
  readonly #publishers = new Map<string, GatewayPublisher>();
  readonly #outcomes: LiveOutcomes;
  readonly #refusals: LiveRefusals;

  constructor(options: LiveDeliveryOptions) {
    const { context, heldBackDeadlineMs, onRecord, onEnd } = options;
    this.#options = options;
    this.#refusals = new LiveRefusals({
      context,
      secrets: options.secrets,
      heldBackDeadlineMs,
      onSetAside: (gateway) => this.takeAsides(gateway),
    });
    this.#outcomes = new LiveOutcomes({
      db: context.db,
      log: context.log,
      onRecord: () => onRecord(),
      onEnd: (...end) => onEnd(...end),
      onRefused: (live, report) => this.#refusals.reported(live, report),
      onHeldBack: (live, report) => this.#refusals.heldBack(live, report),
    });
  }

  /** A gateway was read: resolves when its targets can be written to. */
  async load(fold: GatewayFold): Promise<void> {
    const { context, sessions, onLane } = this.#options;
    await this.#publishers.get(fold.gateway)?.close();
    const publisher: GatewayPublisher = new GatewayPublisher({
      db: context.db,
      log: context.log,
      fold,
      targets: () => sessions().filter(({ gateway }) => gateway === fold.gateway),
      found: () => context.gateways.found(fold.gateway),
      allowsLoopback: (source) => context.gateways.allowsLoopback(source),
      secrets: this.#options.secrets,
      onAnswer: (live, sent, answer) => this.#answered(live, sent, answer),
      onUnchanged: (live) => this.#unchanged(live),
      hold: () => this.#options.hold(fold.gateway),
      onVerdict: (shrink) => this.#options.onVerdict(fold.gateway, fold.version, shrink),
      onLane: () => onLane(publisher),
    });
    this.#publishers.set(fold.gateway, publisher);
    this.#options.onPublisher(fold.gateway);
    await publisher.start();
  }

  apply(fold: GatewayFold, change: FoldChange, services: ReadonlySet<string>): void {
    this.#publishers.get(fold.gateway)?.apply(change, services);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#publishers.values()].map((publisher) => publisher.close()));
    await this.#refusals.close();
  }

  publisher(gateway: string): GatewayPublisher | undefined {
    return this.#publishers.get(gateway);
  }

  publishers(): readonly GatewayPublisher[] {
    return [...this.#publishers.values()];
  }

  isLive(gateway: string): boolean {
    return this.#publishers.get(gateway)?.isLive === true;
  }

  liveOf(session: TargetSession): LiveSession | undefined {
    return this.#publishers.get(session.gateway)?.sessionOf(session);
  }

  opened(session: TargetSession): void {
    this.#publishers.get(session.gateway)?.attach(session);
  }

  closed(session: TargetSession): void {
    this.#publishers.get(session.gateway)?.detach(session);
  }

  /** The target can be written to. */
  subscribed(session: TargetSession): void {
    this.liveOf(session)?.update();
  }

  report(session: TargetSession, report: Report): Promise<'taken' | 'later'> {
    return this.#outcomes.report(session, this.liveOf(session), report);
  }

  /** An Envoy without an agent refused something. @throws Error when the cause could not be looked for now. */
  refused(lane: LiveLane, resources: readonly ResourceKey[], message: string): Promise<void> {
    const { gateway } = lane.source;
    const validator = this.#options.sessions().find((session) => session.gateway === gateway && session.open);
    return this.#refusals.refused(lane, { validator, resources, message, sentAt: lane.set.revision });
  }

  /** What is set aside on a gateway is read again. */
  async takeAsides(gateway: string): Promise<void> {
    await this.#publishers.get(gateway)?.takeAsides();
  }

  /** As `takeAsides`, for a hint: one that comes to nothing is the sweep's. */
  heardOfAsides(gateway: string): void {
    const { log } = this.#options.context;
    this.takeAsides(gateway).catch((err: unknown) => log.warn({ err, gateway }, 'what is set aside could not be read; the sweep reads it'));
  }

  /** The same for all of them: what a lost notification would have told. */
  async sweep(): Promise<void> {
    for (const publisher of this.#publishers.values()) {
      if (publisher.isLive) await publisher.takeAsides();
      const { gateway } = publisher;
      const { gateways } = this.#options.context;
      // Also what is rendered for hot restarts: what is known of those secrets is not to be found out anew with each sweep.
      const sources = [gateways.fold(gateway), ...gateways.versions.all(gateway), ...publisher.sources()].filter(
        (one) => one !== undefined,
      );
      const used = sources.flatMap(({ certificates }) => [...certificates.values()].map(({ secret }) => secret.id));
      this.#options.secrets.keep(gateway, new Set(used));
    }
  }

  /**
   * A look at a live target: what the pushes themselves do not do. It sends again what failed, what drifted and what was asked for, gives up a push
   * whose outcome never came, and counts as live what needed no push. Undefined: another stream of the target was opened.
   */
  async look(session: TargetSession, retry: boolean): Promise<'settled' | 'waiting' | undefined> {
    const { db } = this.#options.context;
    const facts = await readFacts(db, session.owner);
    if (facts === undefined) return undefined;
    session.readOnly = facts.readOnly !== null;
    const live = this.liveOf(session);
    if (live === undefined || session.readOnly) return 'waiting';
    live.update();
    if (!session.statusCame) return 'waiting'; // what is in the agent's journal may be just what is missing here
    await this.#giveUpOverdue(live);
    const { newest } = live;
    if (newest === undefined || (live.unproven.length > 0 && !facts.redeployment)) return 'waiting';
    if (live.blocks.any && !facts.redeployment) return 'waiting';
    const agent = { ...READY, appliedRender: session.status.appliedRenderSha256 };
    const next = nextStep({ ...facts, provenEndpoints: '' }, agent, { ...newest, endpointsSha256: '' }, { ...facts, retry }, Date.now());
    if (next.kind === 'push') {
      const isAsked = live.unproven.some(({ trigger }) => trigger === 'redeployment');
      if (next.trigger !== 'redeployment' || !isAsked) live.again(next.trigger, next.force);
      return 'waiting';
    }
    if (next.kind !== 'nothing' || next.because !== 'equal') return 'waiting';
    await writeProvenVersion(db, session.owner, newest.version, newest.renderSha256);
    return 'settled';
  }

  async #giveUpOverdue(live: LiveSession): Promise<void> {
    const oldest = live.unproven[0];
    const newest = live.unproven.at(-1);
    if (oldest === undefined || newest === undefined || Date.now() - oldest.sentAtMs < this.#options.pushDeadlineMs) return;
    const detail = `no outcome within ${Math.round(this.#options.pushDeadlineMs / 1_000)} s`;
    await this.#outcomes.giveUp(live, newest, { state: 'failed', code: 'deadline', detail });
  }

  #answered(live: LiveSession, sent: SentRelease, answer: LiveAnswer): void {
    const { context, onAnswer } = this.#options;
    onAnswer(live.session, LIVE_TYPE, answer.kind === 'acknowledged' ? 'ack' : 'nack');
    if (answer.kind === 'acknowledged' || /^(base_mismatch|secret_missing)/.test(answer.message)) return;
    context.log.warn({ target: live.session.target, release: sent.releaseId, message: answer.message }, 'an agent refused a release');
    this.#outcomes
      .giveUp(live, sent, { state: 'refused', code: 'agent_refused', detail: answer.message })
      .catch((err: unknown) => context.log.warn({ err, target: live.session.target }, 'a refusal could not be written'));
  }

  #unchanged(live: LiveSession): void {
    const { log } = this.#options.context;
    this.#outcomes
      .settle(live)
      .catch((err: unknown) => log.warn({ err, target: live.session.target }, 'a version could not be counted as live; the sweep does it'));
  }
}
