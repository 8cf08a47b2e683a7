import { refusalReason } from '#platform/envoy/refusal-reason.js';
import type { Log } from '#platform/log/log.js';
import type { HeldBack, Rejection } from '#platform/xds/envoy-session.js';
import type { LiveRelease } from '#platform/xds/generated/delivery.js';
import { LISTENER_TYPE, type ResourceKey, resourceId } from '#platform/xds/xds-resource.js';
import type { LiveNode } from './live-node.js';
import type { LiveRelay } from './live-relay.js';
import type { ReleaseName } from './release-files.js';
import type { StepReport } from './step-report.js';
import { probedName } from './unproven.js';

export interface LiveTroubleOptions {
  readonly node: LiveNode;
  readonly relay: LiveRelay;
  readonly log: Log;
  readonly report: (report: StepReport) => void;
  /** Whether the live Envoy has the bootstrap of the newest release: of another one its refusals say nothing. */
  readonly runsNewest: () => boolean;
  /** Something that was held back is with Envoy now, and unproven. */
  readonly onFreed: () => void;
}

/** Between two offers of a listener whose port is taken: grows from the first to the last. */
const OFFER_AGAIN_MS = { first: 500, last: 5000 };
/** Resources that Envoy refuses and that are reported one by one, with a reason each. */
const REPORTED_ALONE = 20;
/** Refusals that come within this time are reported together. */
const GATHER_MS = 15;

/** What Envoy refuses, must not have yet, or cannot have on this machine: told to the worker, while the rest is in force. */
export class LiveTrouble {
  readonly #options: LiveTroubleOptions;
  #rejections: Rejection[] = [];
  #held: ReadonlySet<string> = new Set();
  /** Probes of resources that were held back when their release was proven. */
  #owed: ReadonlyMap<string, string> = new Map();
  #offer: NodeJS.Timeout | null = null;
  #offerAfterMs = OFFER_AGAIN_MS.first;
  #told = '';

  constructor(options: LiveTroubleOptions) {
    this.#options = options;
  }

  /** True while a listener waits for something of the machine's, a port as a rule, and since it was offered again until something is proven. */
  get machineInTheWay(): boolean {
    return this.#told !== '';
  }

  /** Envoy serves what it should. */
  proven(): void {
    this.#told = '';
    this.#offerAfterMs = OFFER_AGAIN_MS.first;
  }

  /** Envoy refuses a resource: from now on it is served what it had before. */
  rejected(rejection: Rejection): void {
    const { node, relay, runsNewest } = this.#options;
    const { key, version } = rejection;
    // Envoy may print the whole resource before the cause, with the node's secret in it.
    const message = refusalReason(rejection.message);
    if (key.typeUrl === LISTENER_TYPE && isMachines(message)) {
      this.#offerAgain(message);
      return;
    }
    const held = relay.stream?.held(key.typeUrl).get(key.name);
    if (!runsNewest() || !node.refuse(key, version, held)) return;
    if (this.#rejections.length === 0) setTimeout(() => this.tell(), GATHER_MS);
    this.#rejections.push({ key, version, message });
    // Not from within the stream's own work.
    setImmediate(() => relay.update());
  }

  /** All that Envoy must not have yet, because a cluster is not warm. */
  heldBack(held: readonly HeldBack[]): void {
    const { node, report, onFreed } = this.#options;
    const nameOf = ({ key, version }: HeldBack) => `${resourceId(key)} ${version}`;
    const names = new Set(held.map(nameOf));
    const changed = names.size !== this.#held.size || held.some((one) => !this.#held.has(nameOf(one)));
    this.#held = names;
    if (node.release === null) return;
    // All of it whenever it is another set, also when nothing is held back any more: what is proven from then on is proven whole.
    if (changed) {
      const detail = held.map(({ key, waitsFor }) => `${key.name} waits for ${waitsFor.join(', ')}`).join('; ');
      const code = held.length > 0 ? 'not_warm' : '';
      report({ ...named(node.release), step: 'held_back', code, detail, resources: held.map(({ key }) => key), live: true });
    }
    const still = new Set(held.map(({ key }) => key.name));
    const free = [...this.#owed].filter(([path]) => !still.has(probedName(path)));
    this.#owed = new Map([...this.#owed].filter(([path]) => still.has(probedName(path))));
    if (free.length === 0) return;
    const probes = free.map(([path, body]) => ({ path, body }));
    node.unproven.add({ ...node.release, coversFrom: node.release.version, probes }, node.served.revision);
    onFreed();
  }

  /** These paths are to be asked when what is held back has come. */
  owe(probes: ReadonlyMap<string, string>): void {
    this.#owed = new Map([...this.#owed, ...probes]);
  }

  /** Reports the refusals that were gathered. */
  tell(): void {
    const { node, report, log } = this.#options;
    const { release } = node;
    const rejections = this.#rejections;
    this.#rejections = [];
    if (release === null || rejections.length === 0) return;
    node.saveRefused();
    const tell = (resources: readonly ResourceKey[], detail: string) => {
      log.warn({ release: release.releaseId, resources: resources.map(resourceId), detail }, 'Envoy refuses a resource');
      report({ ...named(release), step: 'refused', code: 'envoy_refused', detail, resources, live: true });
    };
    for (const { key, message } of rejections.slice(0, REPORTED_ALONE)) tell([key], message);
    const others = rejections.slice(REPORTED_ALONE);
    if (others.length === 0) return;
    const reasons = others.map(({ key, message }) => `${key.name}: ${message}`).join('; ');
    tell(
      others.map(({ key }) => key),
      reasons,
    );
  }

  close(): void {
    if (this.#offer !== null) clearTimeout(this.#offer);
  }

  /** Told once, and offered again, slower each time, until Envoy gets it. */
  #offerAgain(message: string): void {
    const { node, report, relay } = this.#options;
    if (this.#offer !== null) return;
    if (node.release !== null && this.#told !== message)
      report({ ...named(node.release), step: 'waiting', code: 'listener_refused', detail: message, live: true });
    this.#told = message;
    this.#offer = setTimeout(() => {
      this.#offer = null;
      // One that serves keeps what it has; it comes back at once, and is offered what differs.
      if (relay.listens) relay.reconnect('its listener is offered again');
      else this.#offerAll();
    }, this.#offerAfterMs);
    this.#offerAfterMs = Math.min(OFFER_AGAIN_MS.last, this.#offerAfterMs * 2);
  }

  /**
   * To an Envoy without a listener the routes must come anew with it: it says that it has them, from the listener that it could not have, and the next
   * one would wait for them in vain.
   */
  #offerAll(): void {
    const { node, relay } = this.#options;
    node.withhold();
    relay.update();
    const withheld = node.served.revision;
    relay.whenSettled(withheld, () => {
      node.giveBack();
      // What a stream has refused is never sent on it again.
      relay.reconnect('its listener is offered again');
    });
  }
}

/** How a release is called in a report. */
export function named({ releaseId, version, renderSha256, coversFrom }: LiveRelease): { name: ReleaseName; coversFrom: number } {
  return { name: { key: '', releaseId, version, renderSha256 }, coversFrom };
}

/** Reasons that lie in the machine, not in the listener: they may pass. */
function isMachines(message: string): boolean {
  return /address already in use|cannot assign requested address|permission denied|cannot bind/i.test(message);
}
