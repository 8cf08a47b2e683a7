import 'reflect-metadata';

import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';

import type { INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

import { AttemptLimiter } from '#features/access/attempt-limiter.js';
import { admitWriters } from '#features/access/body-admission.js';
import { TokenVerifier } from '#features/access/token-verifier.js';
import { ambassadorRefusals, Envelope } from '#features/ambassador/envelope.js';
import { RefusalLog } from '#features/audit/refusal-log.js';
import { AnchorArchive } from '#features/verification/anchor-archive.js';
import { LogVerifier, VERIFICATION_STATEMENT_MS } from '#features/verification/log-verifier.js';
import type { ApiConfig } from '#platform/config/api-config.js';
import { type Database, openDatabase } from '#platform/database/database.js';
import { EventStore } from '#platform/eventstore/event-store.js';
import { listStreams } from '#platform/eventstore/read-log.js';
import { EventStreams } from '#platform/http/event-stream.js';
import { HttpExceptionFilter } from '#platform/http/exception.filter.js';
import { HttpAdapter } from '#platform/http/http-adapter.js';
import { HttpMetrics } from '#platform/http/http-metrics.js';
import type { DescribedRoute } from '#platform/http/openapi.js';
import { withDeadline } from '#platform/http/query-runner.js';
import type { RouteList } from '#platform/http/route-list.js';
import type { Log } from '#platform/log/log.js';
import { KeyFile } from '#platform/vault/key-file.js';
import { Vault } from '#platform/vault/vault.js';

import { type ApiParts, apiModule } from './api.module.js';
import { readBuild } from './build.js';
import { addCertificateGauge } from './certificate-gauge.js';
import { ensureDefaultGateway } from './default-gateway.js';
import { NestLog } from './nest-log.js';
import { Readiness } from './readiness.js';
import { RouteDescriptions } from './route-descriptions.js';

/** How long a write may wait for the database before its caller is told. */
const WRITE_DEADLINE_MS = 5_000;
/** And a refusal, whose recording its answer waits for. */
const REFUSAL_DEADLINE_MS = 2_000;
/** How long a scrape of the metrics waits for the database, of the ten seconds that a scraper gives it by default. */
const SCRAPE_DEADLINE_MS = 2_000;

/** The running api. */
export interface Api {
  /** Where it answers, for instance http://127.0.0.1:8888. */
  readonly url: string;
  readonly routes: RouteList;
  /** The same routes as they describe themselves. */
  readonly descriptions: readonly DescribedRoute[];
  readonly database: Database;
  readonly events: EventStore;
  /** Resolves when it can do its work: the default gateway exists. Rejects when the database has not come within the deadline. */
  readonly ready: Promise<void>;
  /** Finishes what is under way and ends. */
  close(): Promise<void>;
}

export interface ApiOptions {
  readonly config: ApiConfig;
  readonly log: Log;
  /** ms since 1970; tests move it. */
  readonly now?: () => number;
  /** Counts failed attempts; tests bring one that forgives. */
  readonly limiter?: AttemptLimiter;
  /** How long a database that is down at the start is waited for, in ms. */
  readonly startDeadlineMs?: number;
}

/**
 * Starts the api. It listens at once, so that /readyz can say what is missing; `ready` tells when nothing is.
 * @throws The error of listening (EADDRINUSE and the like) as it is.
 */
export async function startApi(options: ApiOptions): Promise<Api> {
  const { config, log } = options;
  const database = openDatabase({ url: config.databaseUrl, applicationName: 'chancery-api', maxConnections: 20, log });
  const events = new EventStore({ database, log, deadlineMs: WRITE_DEADLINE_MS });
  const parts = await makeParts(options, database, events);
  const refusalEvents = new EventStore({ database, log, deadlineMs: REFUSAL_DEADLINE_MS });
  const attempts = new RefusalLog({ events: refusalEvents, log, now: options.now });
  const tls = config.tls === undefined ? undefined : { cert: readFileSync(config.tls.certFile), key: readFileSync(config.tls.keyFile) };
  const adapter = new HttpAdapter({ log, metrics: parts.metrics, tls, admit: admitWriters(parts) });
  const app = await NestFactory.create(apiModule(parts), adapter, { bodyParser: false, abortOnError: false, logger: new NestLog(log) });
  const shapes = [ambassadorRefusals(parts.envelope, { status200: config.ambassadorStatus200 })];
  app.useGlobalFilters(new HttpExceptionFilter({ log, routes: adapter.routes, shapes, attempts }));
  const ending = new AbortController();
  try {
    await app.listen(config.listen.port, config.listen.host);
  } catch (error) {
    await end({ app, attempts, stores: [events, refusalEvents], databases: [parts.verification.database, database] });
    throw error;
  }
  const { allowLoopbackUpstreams } = config;
  const ready = ensureDefaultGateway({
    events,
    log,
    allowLoopbackUpstreams,
    deadlineMs: options.startDeadlineMs ?? 60_000,
    ending: ending.signal,
  }).then(() => parts.readiness.started());
  ready.catch(() => undefined); // Whoever started us awaits it; until then it is not "unhandled".
  return {
    url: `${tls === undefined ? 'http' : 'https'}://${authority(app)}`,
    routes: adapter.routes,
    descriptions: app.get(RouteDescriptions).all(),
    database,
    events,
    ready,
    close: async () => {
      parts.readiness.ending();
      ending.abort();
      parts.streams.end();
      app.get(LogVerifier).stop();
      await ready.catch(() => undefined);
      await end({ app, attempts, stores: [events, refusalEvents], databases: [parts.verification.database, database] });
    },
  };
}

async function makeParts(options: ApiOptions, database: Database, events: EventStore): Promise<ApiParts> {
  const { config, log } = options;
  const build = readBuild();
  const metrics = new HttpMetrics(build, () => withDeadline(readHeads(database), SCRAPE_DEADLINE_MS));
  addCertificateGauge(metrics.registry, { db: database.db, log, deadlineMs: SCRAPE_DEADLINE_MS });
  return {
    database,
    events,
    log,
    metrics,
    build,
    envelope: await Envelope.forThisMachine(build.version),
    readiness: new Readiness(database, log),
    verifier: new TokenVerifier({ db: database.db, events, ...(options.now === undefined ? {} : { now: options.now }) }),
    limiter: options.limiter ?? new AttemptLimiter(options.now),
    streams: new EventStreams(),
    vault: new Vault(database.db, new KeyFile(config.kekFile)),
    ownPorts: config.ownPorts,
    verification: {
      database: openDatabase({
        url: config.databaseUrl,
        applicationName: 'chancery-verification',
        maxConnections: 1,
        statementTimeoutMs: VERIFICATION_STATEMENT_MS,
        log,
      }),
      anchors: config.anchors === undefined ? undefined : new AnchorArchive(config.anchors),
    },
  };
}

async function readHeads({ db }: Database): Promise<{ gateway: string; version: number }[]> {
  const streams = await listStreams(db, 'gateway/%');
  return streams.map(({ stream, version }) => ({ gateway: stream.slice('gateway/'.length), version }));
}

/** In the order in which one needs the other: the last counts are recorded when nobody can be refused any more. */
async function end(parts: {
  app: INestApplication;
  attempts: RefusalLog;
  stores: readonly EventStore[];
  databases: readonly Database[];
}): Promise<void> {
  const { app, attempts, stores, databases } = parts;
  await app.close();
  await attempts.close();
  for (const store of stores) await store.close();
  for (const database of databases) await database.close();
}

function authority(app: INestApplication): string {
  const { address, family, port } = app.getHttpServer().address() as AddressInfo;
  return family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`;
}
