import { constants, setPriority } from 'node:os';

import { ConfigError } from '#platform/config/environment.js';
import { type ProjectorConfig, readProjectorConfig } from '#platform/config/projector-config.js';
import { openDatabase } from '#platform/database/database.js';
import { createWake, type Wake } from '#platform/eventstore/wake.js';
import { useFailpoints } from '#platform/failpoint/failpoint.js';
import { createLog, type Log } from '#platform/log/log.js';
import { startAnchoring } from './anchoring.js';
import { startAuditProjector } from './audit-projector.js';
import { startCertificateRounds } from './certificate-rounds.js';
import { gatherWakes } from './gathered-wake.js';
import { becomeOwner } from './ownership.js';
import { startRouteProjector } from './route-projector.js';
import { createMetrics, type ProjectorMetrics, type ProjectorStatus, serveStatus } from './status-server.js';

const STOP_DEADLINE_MS = 10_000;

/** Follows the log and keeps the route tables and the trail, until SIGTERM: the batch under way is finished, then exit 0. */
async function main(): Promise<void> {
  const config = readProjectorConfig();
  useFailpoints(config.failpointDir);
  const log = createLog({ process: 'projector', level: config.logLevel });
  setPriority(constants.priority.PRIORITY_BELOW_NORMAL); // a change on its way to Envoy wakes this process too, and nobody waits for this one
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      stop.abort();
      setTimeout(() => process.exit(1), STOP_DEADLINE_MS).unref();
    });
  }
  const database = openDatabase({ url: config.databaseUrl, applicationName: 'chancery-projector', maxConnections: 5, log });
  const wake = gatherWakes(createWake(config.databaseUrl, log));
  const status: ProjectorStatus = { role: 'starting', caughtUp: false };
  const metrics = createMetrics(database, status);
  const server =
    config.metricsListen === undefined
      ? undefined
      : await serveStatus(config.metricsListen, { database, status, registry: metrics.registry });
  const announce = once(() =>
    process.stdout.write(`${JSON.stringify({ event: 'ready', ...(server === undefined ? {} : { metrics: `${server.url}/metrics` }) })}\n`),
  );
  while (!stop.signal.aborted) await serveTerm({ config, database, wake, log, status, metrics, stop: stop.signal, announce });
  await server?.close();
  await wake.close();
  await database.close();
}

interface Term {
  readonly config: ProjectorConfig;
  readonly database: ReturnType<typeof openDatabase>;
  readonly wake: Wake;
  readonly log: Log;
  readonly status: ProjectorStatus;
  readonly metrics: ProjectorMetrics;
  readonly stop: AbortSignal;
  readonly announce: () => void;
}

/** One term as the owner: from getting the right until it is lost, the cursors were moved by another hand, or the process is to stop. */
async function serveTerm({ config, database, wake, log, status, metrics, stop, announce }: Term): Promise<void> {
  const standby = setTimeout(() => {
    status.role = 'standby';
    announce(); // standing by is all that is asked of this process
  }, STANDBY_AFTER_MS);
  const ownership = await becomeOwner(config.databaseUrl, log, stop);
  clearTimeout(standby);
  if (ownership === null) return;
  status.role = 'owner';
  const applied = (projection: string) => (versions: number) => metrics.applied.inc({ projection }, versions);
  const projector = startRouteProjector({ database, wake, log, onApplied: applied('route_table') });
  const trail = startAuditProjector({ database, wake, log, onApplied: applied('audit') }); // on its own: neither waits for the other, nor falls with it
  const anchoring = startAnchoring({ database, anchors: config.anchors, log, onAnchored: () => metrics.anchored.setToCurrentTime() });
  const certificates = startCertificateRounds({ database, log });
  const term = new AbortController();
  projector.caughtUp().then(
    () => {
      if (term.signal.aborted) return;
      status.caughtUp = true;
      announce();
    },
    () => undefined, // the term ended first
  );
  const ending = new Promise<string>((resolve) => {
    if (stop.aborted) resolve('asked to stop');
    stop.addEventListener('abort', () => resolve('asked to stop'), { once: true });
    ownership.lost.then(() => resolve('the ownership was lost with its connection'));
    projector.moved.then(() => resolve('the cursors were moved by another hand'));
  });
  const why = await ending;
  if (!stop.aborted) log.warn({ why }, 'beginning again from the cursors in the database');
  term.abort();
  status.role = 'starting';
  status.caughtUp = false;
  await anchoring.close({ last: stop.aborted });
  await Promise.all([projector.close(), trail.close(), certificates.close()]);
  await ownership.release();
}

/** Long enough for the connection of a killed owner to be noticed by the server. */
const STANDBY_AFTER_MS = 2_000;

function once(action: () => void): () => void {
  let done = false;
  return () => {
    if (!done) action();
    done = true;
  };
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof ConfigError ? error.message : error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(1);
});
