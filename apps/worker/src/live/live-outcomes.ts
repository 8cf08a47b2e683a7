import { type ShownCertificate, writeShownCertificates } from '#features/rollout/certificate-status.table.js';
import { type LiveOutcome, recordLivePush } from '#features/rollout/live-push.table.js';
import { type FinalState, finalState, parseReleaseId } from '#features/rollout/rollout.js';
import { writeProvenVersion } from '#features/rollout/target-stream.table.js';
import type { Db } from '#platform/database/database.js';
import type { Log } from '#platform/log/log.js';
import type { Report } from '#platform/xds/generated/delivery.js';
import { newPushId } from '../push-id.js';
import type { TargetSession } from '../targets/target-session.js';
import type { LiveSession, SentRelease } from './live-session.js';

export interface LiveOutcomesOptions {
  readonly db: Db;
  readonly log: Log;
  /** A record is due. */
  onRecord(): void;
  /** A push has ended: how, how long it took from its sending, and when the change in it was seen (undefined when it brought none). */
  onEnd(state: FinalState, durationMs: number, seenAtMs: number | undefined): void;
  /** Envoy refuses something: the mappings that are the cause must be found. Resolves when they are set aside, or it is clear that there are none. */
  onRefused(live: LiveSession, report: Report): Promise<void>;
  /** What Envoy holds back for clusters that are not warm; nothing when nothing is any more. */
  onHeldBack(live: LiveSession, report: Report): void;
}

type Ending = Pick<LiveOutcome, 'state' | 'code' | 'detail' | 'report' | 'reportedAtMs' | 'durationMs' | 'epochFrom' | 'epochTo'>;

/**
 * What becomes of live pushes: written when it is known, never before. One row for a push and what it covered; what was passed over on the way has none
 * of its own. The agent's journal is the memory until then, so that a worker's death loses no outcome.
 */
export class LiveOutcomes {
  readonly #options: LiveOutcomesOptions;
  /** What was noted of a target last. */
  readonly #shown = new WeakMap<TargetSession, readonly ShownCertificate[]>();

  constructor(options: LiveOutcomesOptions) {
    this.#options = options;
  }

  /**
   * Takes a report about a live release; `later` when it is acknowledged elsewhere, because what it asks for takes longer than other reports may wait.
   * @param live undefined when the gateway is not delivered live any more: the outcome is written all the same.
   */
  async report(session: TargetSession, live: LiveSession | undefined, report: Report): Promise<'taken' | 'later'> {
    if (report.step === 'held_back') {
      live?.blocks.hold(report.resources);
      if (live !== undefined) this.#options.onHeldBack(live, report);
      return 'taken';
    }
    const state = finalState(report.step);
    if (state === undefined) return 'taken'; // a step on the way: what matters of it is in the outcome
    const place = parseReleaseId(report.releaseId);
    if (place === undefined) return 'taken';
    if (state === 'refused') live?.blocks.refuse(report.resources);
    if (state === 'proven') live?.blocks.proven(place.sequence);
    const { code, detail, id, atMs, durationMs, epochFrom, epochTo } = report;
    const ending = { state, code, detail, report: id, reportedAtMs: atMs, durationMs, epochFrom, epochTo };
    const shown = live?.sent(report.releaseId)?.certificates;
    const isLive = await this.#end(session, live, { ...sentOf(live, report), releaseId: report.releaseId }, ending);
    // What was sent before it is over with it; on a refusal the rest of the release is still to be proven.
    if (state !== 'refused' && place.term === session.owner.term) live?.forget(place.sequence);
    if (state === 'refused' && live !== undefined && report.resources.length > 0) {
      void this.#options.onRefused(live, report).then(
        () => session.delivery.acknowledge(report.id),
        (err: unknown) =>
          this.#options.log.warn({ err, target: session.target }, 'the cause of a refusal could not be found; the agent reports it again'),
      );
      return 'later';
    }
    if (state === 'proven' && live !== undefined) {
      await this.#noteCertificates(session, shown);
      if (!(isLive && live.newest?.version === report.version)) await this.settle(live);
    }
    return 'taken';
  }

  /** Ends a push that the worker itself gives up, or that the agent would not take. */
  async giveUp(
    live: LiveSession,
    sent: SentRelease,
    end: { readonly state: 'failed' | 'refused'; readonly code: string; readonly detail: string },
  ): Promise<void> {
    live.forget(sent.sequence);
    const nowMs = Date.now();
    await this.#end(live.session, live, sent, {
      ...end,
      report: 0,
      reportedAtMs: nowMs,
      durationMs: nowMs - sent.sentAtMs,
      epochFrom: -1,
      epochTo: -1,
    });
  }

  /** What the target has proven is what the newest version is too: that version is live there without a push. */
  async settle(live: LiveSession): Promise<void> {
    if (live.blocks.any || live.unproven.length > 0) return;
    const { newest, session } = live;
    if (newest === undefined) return;
    await writeProvenVersion(this.#options.db, session.owner, newest.version, newest.renderSha256);
  }

  async #noteCertificates(session: TargetSession, shown: readonly ShownCertificate[] | undefined): Promise<void> {
    if (shown === undefined || this.#shown.get(session) === shown) return;
    await writeShownCertificates(this.#options.db, session, shown);
    this.#shown.set(session, shown);
  }

  /** @returns whether the target's row has the push's version as proven now, by this very outcome */
  async #end(
    session: TargetSession,
    live: LiveSession | undefined,
    sent: Omit<SentRelease, 'sequence' | 'certificates'>,
    ending: Ending,
  ): Promise<boolean> {
    const { db, onRecord, onEnd } = this.#options;
    const proves = ending.state === 'proven' && live?.blocks.any !== true;
    const status = session.written;
    if (proves) session.written = undefined; // the statement writes more than the outcome
    const recorded = await recordLivePush(db, session.owner, {
      id: newPushId(Date.now()),
      release: sent.releaseId,
      version: sent.version,
      coversFrom: sent.coversFrom,
      renderSha256: sent.renderSha256,
      trigger: sent.trigger,
      startedAtMs: sent.sentAtMs,
      ...ending,
      proves,
      answers: sent.trigger === 'redeployment',
    });
    if (recorded?.ended !== true) return false;
    if (proves && live?.newest?.renderSha256 === sent.renderSha256) {
      const { releaseId: appliedRelease, version: appliedVersion, renderSha256: appliedRenderSha256 } = sent;
      session.takeProven({ appliedRelease, appliedVersion, appliedRenderSha256 });
    }
    if (proves && status !== undefined)
      session.written = { ...status, appliedRelease: sent.releaseId, appliedVersion: sent.version, appliedRender: sent.renderSha256 };
    onEnd(ending.state, Date.now() - sent.sentAtMs, sent.trigger === 'change' ? sent.seenAtMs : undefined);
    onRecord();
    return proves;
  }
}

/** What was sent under this release: as this worker remembers it, otherwise as the agent reports it. */
function sentOf(live: LiveSession | undefined, report: Report): Omit<SentRelease, 'sequence' | 'releaseId' | 'certificates'> {
  const { version, renderSha256, atMs, durationMs } = report;
  const sent = live?.sent(report.releaseId);
  const coversFrom = report.coversFrom > 0 ? report.coversFrom : (sent?.coversFrom ?? 0);
  if (sent === undefined) {
    const sentAtMs = atMs - durationMs;
    return { version, coversFrom, renderSha256, trigger: 'change', sentAtMs, seenAtMs: sentAtMs, revision: 0 };
  }
  // A push that covers others is what the gravest of them was.
  const triggers = new Set(live?.unproven.filter(({ sequence }) => sequence <= sent.sequence).map(({ trigger }) => trigger));
  const trigger = (['redeployment', 'retry', 'change', 'drift', 'endpoints'] as const).find((one) => triggers.has(one)) ?? sent.trigger;
  return { ...sent, coversFrom, trigger };
}
