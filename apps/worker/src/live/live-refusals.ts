import { certificateSecretName } from '#features/gateway/tls-secrets.envoy.js';
import type { Log } from '#platform/log/log.js';
import type { Report } from '#platform/xds/generated/delivery.js';
import { CLUSTER_TYPE, ENDPOINT_TYPE, type ResourceKey, resourceId, SCOPED_ROUTE_TYPE, SECRET_TYPE } from '#platform/xds/xds-resource.js';

import type { SecretSource } from '../secrets/lane-secrets.js';
import { type SetAsideContext, setAsideAmong, writeSetAside } from '../statuses/set-aside.js';
import { ENVOY_REFUSED, UPSTREAM_NOT_READY } from '../statuses/set-asides.js';
import type { TargetSession } from '../targets/target-session.js';
import type { LiveLane } from './live-lane.js';
import type { LiveSession } from './live-session.js';

export interface LiveRefusalsOptions {
  readonly context: SetAsideContext & { readonly log: Log };
  /** How long a cluster may take to become warm before the mappings that need it are set aside. Milliseconds. */
  readonly heldBackDeadlineMs: number;
  /** What is set aside on this gateway has changed: its targets are brought to it. */
  onSetAside(gateway: string): Promise<void>;
  readonly secrets: Pick<SecretSource, 'refuse'>;
}

/** What an Envoy refused, each resource when it was sent alone. */
export interface Refusal {
  /** Whose node tries what the cause is; undefined when there is none to ask. */
  readonly validator: TargetSession | undefined;
  readonly resources: readonly ResourceKey[];
  /** Envoy's own words. */
  readonly message: string;
  /** The revision of the lane's set that was sent; undefined when that is not known. */
  readonly sentAt: number | undefined;
}

/**
 * What Envoys refuse of live releases, or hold back too long, and which mappings are the cause. Only mappings of what was refused are looked at, and only
 * the cause is set aside: the others, and other targets, go on meanwhile. One search at a time on a gateway, since the next may have its answer already.
 */
export class LiveRefusals {
  readonly #options: LiveRefusalsOptions;
  readonly #searches = new Map<string, Promise<unknown>>();
  readonly #waiting = new Map<LiveSession, NodeJS.Timeout>();

  constructor(options: LiveRefusalsOptions) {
    this.#options = options;
  }

  async close(): Promise<void> {
    for (const timer of this.#waiting.values()) clearTimeout(timer);
    this.#waiting.clear();
    await Promise.allSettled([...this.#searches.values()]);
  }

  /** Resolves when the cause is set aside, or it is clear that there is none. @throws Error when it could not be looked for now. */
  reported(live: LiveSession, report: Report): Promise<void> {
    const sent = live.sent(report.releaseId);
    return this.refused(live.lane, {
      validator: live.session,
      resources: report.resources,
      message: report.detail,
      sentAt: sent?.revision,
    });
  }

  /** The same for what any Envoy refused. */
  refused(lane: LiveLane, refusal: Refusal): Promise<void> {
    const changed = refusal.sentAt === undefined ? undefined : lane.set.changesSince(refusal.sentAt);
    const since = new Set(changed?.upserts.map(resourceId));
    // What was refused and is still what the target should have; of what was sent by another worker that is not known.
    const refused = refusal.resources.map((key) => ({
      key,
      version: lane.set.get(key)?.version,
      stands: changed !== undefined && !since.has(resourceId(key)),
    }));
    return this.#inTurn(lane.source.gateway, async () => {
      for (const { key, version, stands } of refused) {
        if (lane.set.get(key)?.version !== version) continue; // another target's refusal has settled it
        await this.#findCause(lane, refusal, key, stands);
      }
    });
  }

  /** Starts to wait for what is held back, or ends the wait when nothing is any more. */
  heldBack(live: LiveSession, report: Report): void {
    clearTimeout(this.#waiting.get(live));
    this.#waiting.delete(live);
    if (report.resources.length === 0) return;
    const timer = setTimeout(() => {
      this.#waiting.delete(live);
      if (!live.session.open || !live.blocks.any) return;
      this.#inTurn(live.lane.source.gateway, () => this.#setNotReadyAside(live, report)).catch((err: unknown) =>
        this.#options.context.log.warn({ err, target: live.session.target }, 'what waits for its upstream could not be set aside'),
      );
    }, this.#options.heldBackDeadlineMs);
    this.#waiting.set(live, timer);
  }

  async #findCause(lane: LiveLane, { validator, message }: Refusal, key: ResourceKey, stands: boolean): Promise<void> {
    const { context, onSetAside } = this.#options;
    const { source } = lane;
    if (key.typeUrl === SECRET_TYPE) {
      const certificate = [...source.certificates.values()].find(({ name }) => certificateSecretName(name) === key.name);
      if (certificate !== undefined) this.#options.secrets.refuse(source.gateway, certificate, message.slice(0, 300));
      else context.log.error({ gateway: source.gateway, secret: key.name, message }, 'Envoy refuses a secret that is no certificate');
      return;
    }
    if (key.typeUrl === CLUSTER_TYPE || key.typeUrl === ENDPOINT_TYPE) {
      const users = mappingsTo(lane, key.name);
      await writeSetAside(
        context,
        source,
        users.map((name) => ({ name, code: ENVOY_REFUSED, reason: message.slice(0, 300), dropped: false })),
      );
      await onSetAside(source.gateway);
      return;
    }
    const candidates = key.typeUrl === SCOPED_ROUTE_TYPE ? lane.table.mappingsOf(key.name) : [];
    if (validator !== undefined && candidates.length > 0 && (await setAsideAmong(context, validator, { source, candidates, message })))
      return onSetAside(source.gateway);
    const { version } = lane.set.get(key) ?? {};
    await onSetAside(source.gateway);
    if (lane.set.get(key)?.version !== version) return; // the cause was set aside already, and had only not come here
    const newest = stands ? newestOf(lane, candidates) : undefined;
    if (newest === undefined) {
      context.log.error({ gateway: source.gateway, resource: key.name, message }, 'Envoy refuses a resource, and no mapping is the cause');
      return;
    }
    // A trial accepts what the running Envoy refused: the change that came last is the likeliest cause, and if it is not, the next refusal tells.
    await writeSetAside(context, source, [{ name: newest, code: ENVOY_REFUSED, reason: message.slice(0, 300), dropped: false }]);
    await onSetAside(source.gateway);
  }

  async #setNotReadyAside(live: LiveSession, report: Report): Promise<void> {
    const { context, onSetAside, heldBackDeadlineMs } = this.#options;
    const { lane } = live;
    const words = new Set(report.detail.split(/[^A-Za-z0-9._-]+/));
    const names = report.resources.flatMap(({ typeUrl, name }) => (typeUrl === SCOPED_ROUTE_TYPE ? lane.table.mappingsOf(name) : []));
    const waiting = [...new Set(names)].filter((name) => words.has(lane.table.clusterOf(name) ?? '\n'));
    if (waiting.length === 0) return;
    const reason = (name: string) =>
      `${lane.source.mappings.get(name)?.state.service}: Envoy could not make its upstream ready within ${heldBackDeadlineMs / 1_000} s.`;
    await writeSetAside(
      context,
      lane.source,
      waiting.map((name) => ({ name, code: UPSTREAM_NOT_READY, reason: reason(name), dropped: false })),
    );
    await onSetAside(lane.source.gateway);
  }

  #inTurn(gateway: string, work: () => Promise<void>): Promise<void> {
    const before = this.#searches.get(gateway) ?? Promise.resolve();
    const done = before.then(work, work);
    const settled = done
      .catch(() => undefined)
      .finally(() => {
        if (this.#searches.get(gateway) === settled) this.#searches.delete(gateway);
      });
    this.#searches.set(gateway, settled);
    return done;
  }
}

function mappingsTo(lane: LiveLane, cluster: string): string[] {
  return [...lane.source.mappings.keys()].filter((name) => lane.table.clusterOf(name) === cluster);
}

function newestOf(lane: LiveLane, candidates: readonly string[]): string | undefined {
  const { mappings } = lane.source;
  const forwarding = candidates.filter((name) => lane.table.clusterOf(name) !== undefined);
  return forwarding.sort((a, b) => (mappings.get(b)?.streamVersion ?? 0) - (mappings.get(a)?.streamVersion ?? 0))[0];
}
