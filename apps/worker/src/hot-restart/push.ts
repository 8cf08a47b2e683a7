import { endPush, startPush } from '#features/rollout/push.table.js';
import type { FencePosition, Trigger } from '#features/rollout/rollout.js';
import { releaseId } from '#features/rollout/rollout.js';
import type { Db } from '#platform/database/database.js';
import { failpoint } from '#platform/failpoint/failpoint.js';
import type { Log } from '#platform/log/log.js';
import type { Manifest } from '#platform/xds/generated/delivery.js';
import { BOOTSTRAP_NAME, BOOTSTRAP_TYPE, ENDPOINTS_TYPE, encodeManifest } from '#platform/xds/resource.js';

import type { GatewayFold } from '../fold/gateway-fold.js';
import { newPushId } from '../push-id.js';
import type { PushEnd, TargetSession } from '../targets/target-session.js';
import type { Renderer } from './renderer.js';
import type { TargetRender } from './target-render.js';

/** How a push ended. `lost`: the stream is not ours any more, or ended; whoever has it next takes the reports. */
export type PushResult = PushEnd | { readonly state: 'lost' };

export interface PushContext {
  readonly db: Db;
  readonly renderer: Renderer;
  readonly log: Log;
  /** How long a release may take beyond the time that the parent of a restart may still drain. */
  readonly pushDeadlineMs: number;
  readonly onAnswer: (session: TargetSession, typeUrl: string, result: 'ack' | 'nack') => void;
}

/** Sends one render to one target and follows it to its end. The record of it is in rows from before the first byte is sent. */
export async function push(
  context: PushContext,
  session: TargetSession,
  what: { readonly fold: GatewayFold; readonly render: TargetRender; readonly trigger: Trigger; readonly force: boolean },
): Promise<PushResult> {
  const { db, log } = context;
  const id = newPushId(Date.now());
  const { render } = what;
  const fence = await startPush(db, session.owner, {
    id,
    version: render.version,
    renderSha256: render.renderSha256,
    endpointsSha256: render.endpointsSha256,
    trigger: what.trigger,
    renderMs: render.durationMs,
  });
  if (fence === undefined) return { state: 'lost' };
  failpoint('worker.beforePush');
  const release = releaseId(fence);
  const files = context.renderer.encode(render);
  const settings = what.fold.settings;
  const manifest: Manifest = {
    releaseId: release,
    fence: wireFence(fence),
    gateway: session.gateway,
    version: render.version,
    renderSha256: render.renderSha256,
    items: [
      { typeUrl: BOOTSTRAP_TYPE, name: BOOTSTRAP_NAME, sha256: files.bootstrap.version },
      ...files.endpoints.map(({ name, version }) => ({ typeUrl: ENDPOINTS_TYPE, name, sha256: version })),
    ],
    marker: files.marker,
    drainTimeS: settings.drainTimeS,
    parentShutdownTimeS: settings.parentShutdownTimeS,
    force: what.force,
    lowerVersionReason: render.lowerVersionReason,
    proofAnswers: 30,
    probes: [...render.probes],
  };
  log.info({ target: session.target, release, version: render.version, trigger: what.trigger }, 'pushing a release');
  const acknowledged = session.delivery.push({
    bootstrap: files.bootstrap,
    endpoints: files.endpoints,
    manifest: encodeManifest(manifest),
  });
  failpoint('worker.afterPushBeforeAck');
  const answer = await acknowledged;
  if (answer.kind === 'unknown') return { state: 'lost' };
  if (answer.kind === 'refused') {
    context.onAnswer(session, answer.type, 'nack');
    const end: PushEnd = { state: 'refused', code: 'agent_refused', detail: answer.message };
    await endPush(db, id, { state: 'refused', code: end.code, detail: end.detail });
    return end;
  }
  if (answer.kind === 'acknowledged') context.onAnswer(session, manifestType, 'ack');
  return followToEnd(context, session, { id, release, deadlineMs: context.pushDeadlineMs + settings.parentShutdownTimeS * 1_000 });
}

const manifestType = 'type.googleapis.com/chancery.delivery.v1.Manifest';

async function followToEnd(
  { db }: PushContext,
  session: TargetSession,
  running: { readonly id: string; readonly release: string; readonly deadlineMs: number },
): Promise<PushResult> {
  const ended = await session.waitUntil(() => session.endOf(running.release) !== undefined, running.deadlineMs);
  const end = session.endOf(running.release);
  if (end !== undefined) return end;
  if (!session.open || ended) return { state: 'lost' };
  const detail = `no outcome within ${Math.round(running.deadlineMs / 1_000)} s`;
  await endPush(db, running.id, { state: 'failed', code: 'deadline', detail });
  return { state: 'failed', code: 'deadline', detail };
}

function wireFence(fence: FencePosition) {
  return { lineage: fence.lineage, lineageId: fence.lineageId, term: fence.term, sequence: fence.sequence };
}
