import { writeShownCertificates } from '#features/rollout/certificate-status.table.js';
import { endPush, listRunningPushes } from '#features/rollout/push.table.js';
import { nextStep, parseReleaseId } from '#features/rollout/rollout.js';
import { notifyLook, readFacts, readHolder, writeProvenVersion } from '#features/rollout/target-stream.table.js';
import { failpoint } from '#platform/failpoint/failpoint.js';
import type { Look } from '#platform/queue/queue.js';

import type { Gateways } from '../fold/gateways.js';
import type { LiveDelivery } from '../live/live-delivery.js';
import { type SetAsideContext, setAsideRefused } from '../statuses/set-aside.js';
import type { TargetSession } from '../targets/target-session.js';
import { type PushContext, type PushResult, push } from './push.js';

export interface LookContext extends PushContext, SetAsideContext {
  readonly worker: string;
  readonly gateways: Gateways;
  readonly live: LiveDelivery;
  /** How long a look waits for an agent that is busy, beyond the end of its window. */
  readonly readyDeadlineMs: number;
  session(target: string): TargetSession | undefined;
  /** `seenAtMs`: when the change that was pushed was seen; undefined for other causes. */
  onPushEnd(result: PushResult, durationMs: number, seenAtMs: number | undefined): void;
}

/** What the agent's journal says of releases that it accepted before is waited for this long after the stream opened. */
const journalMs = 10_000;

/**
 * "Look at target X": brings one target to what is newest, or finds that it is there. Everything is read anew; the job itself says
 * nothing but the name. Ends quietly when another worker holds the target (which is told), throws to be tried again later.
 */
export async function look(context: LookContext, { target, attempt }: Look): Promise<void> {
  failpoint('worker.afterDequeue');
  const session = context.session(target);
  if (session === undefined) {
    const holder = await readHolder(context.db, target);
    if (typeof holder === 'string' && holder !== context.worker) await notifyLook(context.db, target);
    return;
  }
  await settleOldPushes(context, session);
  if (context.live.isLive(session.gateway)) return lookLive(context, session, attempt > 1);
  for (let retry = attempt > 1; session.open; retry = false) {
    const goesOn = await step(context, session, retry);
    if (!goesOn) break;
  }
  failpoint('worker.beforeJobComplete');
}

async function lookLive(context: LookContext, session: TargetSession, retry: boolean): Promise<void> {
  const generation = context.gateways.generation(session.gateway);
  const found = await context.live.look(session, retry);
  if (found === undefined) session.delivery.close('another stream of this target was opened');
  if (found === 'settled') session.settledKey = `${generation} live`;
}

/** One round: true when there may be more to do at once. */
async function step(context: LookContext, session: TargetSession, retry: boolean): Promise<boolean> {
  const fold = context.gateways.fold(session.gateway);
  const render = await context.renderer.render(session);
  failpoint('worker.afterRender');
  const facts = await readFacts(context.db, session.owner);
  if (facts === undefined) {
    session.delivery.close('another stream of this target was opened');
    return false;
  }
  if (fold === undefined || render === undefined) return false; // no such gateway yet: its first version wakes us
  const { status } = session;
  const agent = {
    state: session.delivery.subscribed ? status.state : 'unsubscribed',
    appliedRender: status.appliedRenderSha256,
    pending: status.pendingRelease !== '',
  };
  const next = nextStep(facts, agent, render, { redeployment: facts.redeployment, force: facts.force, retry }, Date.now());
  switch (next.kind) {
    case 'nothing':
      if (next.because === 'equal') await writeProvenVersion(context.db, session.owner, render.version, render.renderSha256);
      session.settledKey = render.key;
      return false;
    case 'hold':
      return false; // the sweep comes back after it
    case 'wait':
      return waitForAgent(context, session);
    case 'push': {
      const startedMs = performance.now();
      const seenAtMs = next.trigger === 'change' ? fold.seenAtMs : undefined;
      const result = await push(context, session, { fold, render, trigger: next.trigger, force: next.force });
      context.onPushEnd(result, performance.now() - startedMs, seenAtMs);
      if (result.state === 'proven') await writeShownCertificates(context.db, session, render.certificates);
      return afterPush(context, session, render.key, result);
    }
  }
}

async function waitForAgent(context: LookContext, session: TargetSession): Promise<boolean> {
  const { status, nudges } = session;
  const { subscribed } = session.delivery;
  const windowLeftMs = Math.max(0, status.windowEndsMs - Date.now());
  // Not for every change of the gateway: what comes meanwhile is rendered once, when the agent can take it.
  const changed = () => session.status !== status || session.nudges !== nudges || session.delivery.subscribed !== subscribed;
  if (await session.waitUntil(changed, windowLeftMs + context.readyDeadlineMs)) return true;
  if (!session.open) return false;
  throw new Error(`the agent of ${session.target} has been ${session.status.state} for too long`);
}

async function afterPush(context: LookContext, session: TargetSession, key: string, result: PushResult): Promise<boolean> {
  switch (result.state) {
    case 'lost':
      return false;
    case 'proven':
    case 'superseded':
      return true;
    case 'refused':
      if (result.code === 'agent_refused' && session.leaveOutHeld()) return true;
      if (result.code === 'envoy_refused') {
        if (context.renderer.takeBack(session.gateway, result.detail)) return true;
        if (await setAsideRefused(context, session, result.detail)) return true;
        context.log.error(
          { target: session.target, message: result.detail },
          'Envoy refuses the configuration, and no mapping is the cause',
        );
      }
      break;
    case 'failed':
      break;
  }
  // What failed is not what is newest any more: the newest gets its chance now, without the back-off of the old.
  const newest = await context.renderer.render(session);
  if (newest !== undefined && newest.key !== key) return true;
  throw new Error(`release to ${session.target} ${result.state}: ${result.code}: ${result.detail.slice(0, 300)}`);
}

/**
 * Ends what a former stream left running: a release that the agent never accepted was not delivered; the outcome of one that it
 * accepted comes out of its journal, or is unknown.
 */
async function settleOldPushes(context: LookContext, session: TargetSession): Promise<void> {
  const running = await listRunningPushes(context.db, session.target);
  const accepted = session.delivery.hello.lastFence;
  for (const { id, release } of running) {
    const place = parseReleaseId(release);
    if (place === undefined || place.term >= session.owner.term) continue; // a push of this stream: somebody follows it
    const delivered =
      accepted !== undefined &&
      accepted.lineage === place.lineage &&
      (accepted.term > place.term || (accepted.term === place.term && accepted.sequence >= place.sequence));
    if (!delivered) {
      await endPush(context.db, id, {
        state: 'superseded',
        code: 'not_delivered',
        detail: 'The stream ended before the agent had the release.',
      });
      continue;
    }
    const leftMs = session.openedAtMs + journalMs - Date.now();
    const busyWithIt = () => session.status.pendingRelease === release || session.status.state === 'busy';
    // The journal comes before the first status. A release that the agent still works on ends by its report: nobody waits for that here.
    const said = () => session.endOf(release) !== undefined || session.statusCame;
    await session.waitUntil(said, Math.max(0, leftMs));
    const known = session.endOf(release) !== undefined;
    if (!known && session.open && !busyWithIt()) {
      await endPush(context.db, id, {
        state: 'failed',
        code: 'outcome_unknown',
        detail: 'The agent accepted the release and never said what became of it.',
      });
    }
  }
}
