import type { AgentStatus, StreamOwner } from '#features/rollout/target-stream.table.js';
import type { DeliverySession } from '#platform/xds/delivery-session.js';
import { Status } from '#platform/xds/generated/delivery.js';

import type { TargetRender } from '../hot-restart/target-render.js';

/** How a push ended, as the agent's last report of it said. */
export interface PushEnd {
  readonly state: 'proven' | 'failed' | 'superseded' | 'refused';
  readonly code: string;
  readonly detail: string;
}

const noStatus = Status.fromPartial({ state: 'starting', epoch: -1 });

/** What this worker knows of one connected target, beyond its row. It lives as long as the agent's stream. */
export class TargetSession {
  readonly owner: StreamOwner;
  readonly openedAtMs = Date.now();
  /** The newest status, corrected by what reports said since. */
  status: Status;
  /** A status came on this stream: what was in the agent's journal when it opened has come before it. */
  statusCame = false;
  /** What of the status its row has, to write only changes; undefined when that is not known. */
  written: AgentStatus | undefined;
  render: TargetRender | undefined;
  /** What a look last found to be proven already; the sweep leaves the target alone while it stays so. */
  settledKey = '';
  /** Nothing may be sent to the target, as its row says why. */
  readOnly = false;
  /** The target does not have what a render left to nodes that have it. */
  withoutHeld = false;
  /** Counts what a waiting look must hear of although the agent's status is the same: a forced redeployment. */
  nudges = 0;
  /** Of every render of this session: the mapping behind a statistics prefix. */
  readonly mappingOfPrefix = new Map<string, string>();
  readonly #ends = new Map<string, PushEnd>();
  readonly #waiters = new Set<() => void>();

  constructor(
    readonly delivery: DeliverySession,
    term: number,
  ) {
    this.owner = { target: delivery.target, term };
    this.status = delivery.hello.status ?? noStatus;
  }

  get target(): string {
    return this.delivery.target;
  }

  get gateway(): string {
    return this.delivery.hello.gateway;
  }

  get open(): boolean {
    return this.delivery.closedBecause === undefined;
  }

  /** What nodes were to have is left out from now on; false when there was nothing of that kind. */
  leaveOutHeld(): boolean {
    if (this.withoutHeld || this.render?.hasHeld !== true) return false;
    this.withoutHeld = true;
    return true;
  }

  takeStatus(status: Status): void {
    this.status = status;
    this.statusCame = true;
    this.changed();
  }

  /** What it has proven it has applied; its status says so too, a moment later. */
  takeProven(applied: Pick<Status, 'appliedRelease' | 'appliedVersion' | 'appliedRenderSha256'>): void {
    this.status = { ...this.status, ...applied };
  }

  /** Until its next status an agent that has just restarted its Envoy counts as busy: "idle" from before would be stale. */
  takeRestart(): void {
    this.status = { ...this.status, state: 'busy' };
  }

  takeEnd(release: string, end: PushEnd): void {
    this.#ends.set(release, end);
    while (this.#ends.size > 32) this.#ends.delete(this.#ends.keys().next().value ?? '');
    this.changed();
  }

  endOf(release: string): PushEnd | undefined {
    return this.#ends.get(release);
  }

  /** Something that somebody may wait for has happened. */
  changed(): void {
    for (const wake of [...this.#waiters]) wake();
  }

  /** Waits until the condition holds; false when the deadline (milliseconds from now) passes or the stream ends first. */
  async waitUntil(condition: () => boolean, deadlineMs: number): Promise<boolean> {
    const endsAt = Date.now() + deadlineMs;
    while (!condition()) {
      const leftMs = endsAt - Date.now();
      if (leftMs <= 0 || !this.open) return false;
      await new Promise<void>((resolve) => {
        const wake = () => {
          clearTimeout(timer);
          this.#waiters.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, leftMs);
        this.#waiters.add(wake);
      });
    }
    return true;
  }
}
