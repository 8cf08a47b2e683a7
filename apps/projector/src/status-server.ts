import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Counter, Gauge, Registry } from 'prom-client';

import { listParkedAudit, readAuditLag } from '#features/audit/audit.projection.js';
import { readRouteProjections } from '#features/mapping/mapping.projection.js';
import type { Listen } from '#platform/config/environment.js';
import type { Database } from '#platform/database/database.js';
import { requireSchema } from '#platform/database/migrator.js';
import { listStreams } from '#platform/eventstore/read-log.js';

/** What the process knows of itself. `standby`: another projector owns the tables. */
export interface ProjectorStatus {
  role: 'starting' | 'standby' | 'owner';
  caughtUp: boolean;
}

export interface ProjectorMetrics {
  readonly registry: Registry;
  readonly applied: Counter<'projection'>;
  /** When the log was last found or made anchored. */
  readonly anchored: Gauge;
}

/** Figures of the projection; the lag is asked of the database when somebody scrapes. */
export function createMetrics(database: Database, status: ProjectorStatus): ProjectorMetrics {
  const registry = new Registry();
  new Gauge({
    name: 'chancery_projection_lag_events',
    help: 'Versions of the log that the projected table does not show yet: of the route table by gateway, of the audit trail all together',
    labelNames: ['projection', 'gateway'],
    registers: [registry],
    async collect() {
      this.reset();
      for (const { gateway, lag } of await readLag(database)) this.set({ projection: 'route_table', gateway }, lag);
      this.set({ projection: 'audit', gateway: '' }, await readAuditLag(database.db));
    },
  });
  new Gauge({
    name: 'chancery_projection_parked',
    help: '1 for a gateway whose next version cannot be folded; for the audit trail, how many streams it leaves out for such a version',
    labelNames: ['projection', 'gateway'],
    registers: [registry],
    async collect() {
      this.reset();
      for (const { gateway, parked } of await readRouteProjections(database.db))
        this.set({ projection: 'route_table', gateway }, parked === null ? 0 : 1);
      this.set({ projection: 'audit', gateway: '' }, (await listParkedAudit(database.db)).length);
    },
  });
  new Gauge({
    name: 'chancery_projector_owner',
    help: '1 for the process that owns the projected tables, 0 for one that stands by',
    registers: [registry],
    collect() {
      this.set(status.role === 'owner' ? 1 : 0);
    },
  });
  const applied = new Counter({
    name: 'chancery_projection_versions_applied_total',
    help: 'Versions folded by this process',
    labelNames: ['projection'],
    registers: [registry],
  });
  const anchored = new Gauge({
    name: 'chancery_anchor_last_timestamp_seconds',
    help: 'When the heads of the log were last anchored outside the database, or found anchored; 0 for never',
    registers: [registry],
  });
  return { registry, applied, anchored };
}

/** Heads against cursors. */
async function readLag(database: Database): Promise<{ gateway: string; lag: number }[]> {
  const cursors = new Map((await readRouteProjections(database.db)).map(({ gateway, version }) => [gateway, version]));
  const streams = await listStreams(database.db, 'gateway/%');
  return streams.map(({ stream, version }) => {
    const gateway = stream.slice('gateway/'.length);
    return { gateway, lag: version - (cursors.get(gateway) ?? 0) };
  });
}

/**
 * /healthz (the process runs), /readyz (it owns the tables and has caught up, or stands by; 503 with the reason otherwise) and /metrics, on loopback
 * unless told otherwise. @returns the address that it listens on, and how to stop.
 */
export async function serveStatus(listen: Listen, options: { database: Database; status: ProjectorStatus; registry: Registry }) {
  const { database, status, registry } = options;
  const server = createServer((request, response) => {
    const answer = (code: number, text: string, type = 'text/plain; charset=utf-8') =>
      response.writeHead(code, { 'content-type': type }).end(text);
    const routes: Record<string, () => Promise<unknown>> = {
      '/healthz': async () => answer(200, 'ok\n'),
      '/readyz': async () => {
        const missing = await findMissing(database, status);
        return missing === undefined ? answer(200, `ok (${status.role})\n`) : answer(503, `${missing}\n`);
      },
      '/metrics': async () => answer(200, await registry.metrics(), registry.contentType),
    };
    const route = request.method === 'GET' ? routes[request.url ?? ''] : undefined;
    if (route === undefined) answer(404, 'GET /healthz, /readyz or /metrics\n');
    else route().catch((error: Error) => answer(503, `the database does not answer: ${error.message}\n`));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(listen.port, listen.host, resolve);
  });
  const { address, port } = server.address() as AddressInfo;
  return {
    url: `http://${address.includes(':') ? `[${address}]` : address}:${port}`,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** A parked gateway is not among it: that is one gateway's trouble (its own metric says so), and no reason to take the process away from the others. */
async function findMissing(database: Database, status: ProjectorStatus): Promise<string | undefined> {
  await requireSchema(database.db); // throws when the database is not there, or not of this release
  return status.role === 'standby' || status.caughtUp ? undefined : 'the route tables have not caught up with the log yet';
}
