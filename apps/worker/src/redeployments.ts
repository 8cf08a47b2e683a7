import { type Redeployment, readRolloutCursor, takeRedeployments } from '#features/rollout/redeployment.table.js';
import type { RedeploymentState } from '#features/rollout/request-redeployment.js';
import type { Database } from '#platform/database/database.js';
import { type Follower, follow, type LoggedVersion, type Wake } from '#platform/eventstore/follower.js';
import type { Log } from '#platform/log/log.js';

/** The stream has a record of every push as well: how far it was followed is written when that many have come, since they may be passed over again. */
const CURSOR_EVERY = 100;

/** Follows `deployments/%` for requests to push again, and makes rows of them that the looks at their targets find. */
export function followRedeployments(options: {
  readonly database: Database;
  readonly wake: Wake;
  readonly log: Log;
  readonly pollMs: number;
  onRequested(gateway: string, requests: readonly Redeployment[]): void;
}): Follower {
  const { database, log } = options;
  const written = new Map<string, number>();
  return follow({
    database,
    streams: 'deployments/%',
    wake: options.wake,
    pollMs: options.pollMs,
    log,
    start: async (stream) => {
      const version = await readRolloutCursor(database.db, stream);
      written.set(stream, version);
      return version;
    },
    apply: async ({ stream, versions }) => {
      const gateway = stream.slice('deployments/'.length);
      const requests = versions.flatMap((version) => requestsOf(gateway, version));
      const last = versions.at(-1);
      if (last === undefined) return;
      if (requests.length === 0 && last.version - (written.get(stream) ?? 0) < CURSOR_EVERY) return;
      await takeRedeployments(database.db, stream, last.version, requests);
      written.set(stream, last.version);
      if (requests.length > 0) options.onRequested(gateway, requests);
    },
    onError: (err, stream) => log.error({ err, stream }, 'a request to redeploy could not be taken; it is tried again'),
  });
}

function requestsOf(gateway: string, version: LoggedVersion): Redeployment[] {
  return version.events
    .filter((event) => event.type === 'RedeploymentRequested' && event.state !== null)
    .map((event) => {
      const state = event.state as unknown as RedeploymentState;
      return {
        id: event.subject.slice('redeployment/'.length),
        gateway,
        targets: state.targets,
        reason: state.reason,
        force: state.force,
        actor: version.actor,
        requestedAt: version.recordedAt,
      };
    });
}
