import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';

import { TokenVerifier } from '#features/access/token-verifier.js';
import { ConfigError } from '#platform/config/environment.js';
import { readWorkerConfig, type WorkerConfig } from '#platform/config/worker-config.js';
import { useFailpoints } from '#platform/failpoint/failpoint.js';
import { DomainError } from '#platform/kernel/errors.js';
import { createLog } from '#platform/log/log.js';
import { KeyFile } from '#platform/vault/key-file.js';
import type { ServerCertificate } from '#platform/xds/server-credentials.js';

import { openCluster } from './cluster.js';
import { startWorker } from './worker.js';

/** SIGTERM must be answered by an exit within 10 s; this leaves room for a slow disk. */
const stopDeadlineMs = 8_000;

async function main(): Promise<void> {
  const config = readWorkerConfig();
  useFailpoints(config.failpointDir);
  const log = createLog({ process: 'worker', level: config.logLevel });
  let verifier: TokenVerifier | undefined;
  const worker = await startWorker({
    name: `${hostname()}-${process.pid}-${randomUUID().slice(0, 8)}`,
    databaseUrl: config.databaseUrl,
    redisUrl: config.redisUrl,
    log,
    listen: config.listen,
    tls: config.tls === undefined ? undefined : readCertificate(config.tls),
    statusListen: config.metricsListen,
    servicesFile: config.servicesFile,
    ...(config.kubernetes === undefined ? {} : await openCluster(config.kubernetes, config)),
    allowLoopback: config.allowLoopbackUpstreams,
    ownPorts: ownPorts(config),
    keys: new KeyFile(config.kekFile),
    authenticate: async (token, { db, events }) => {
      verifier ??= new TokenVerifier({ db, events });
      return verifier.verify(token);
    },
  });
  process.stdout.write(
    `${JSON.stringify({ event: 'ready', listen: `${config.listen.host}:${worker.port}`, metrics: worker.statusPort ?? null })}\n`,
  );
  let stopping = false;
  const stop = (signal: string) => {
    if (stopping) return;
    stopping = true;
    log.info({ signal }, 'stopping');
    setTimeout(() => process.exit(0), stopDeadlineMs).unref();
    worker.close().then(
      () => process.exit(0),
      (err: unknown) => {
        log.error({ err }, 'could not stop cleanly');
        process.exit(1);
      },
    );
  };
  process.once('SIGTERM', () => stop('SIGTERM'));
  process.once('SIGINT', () => stop('SIGINT'));
}

/** @throws ConfigError naming the file that cannot be read. */
function readCertificate(files: NonNullable<WorkerConfig['tls']>): ServerCertificate {
  const read = (file: string, variable: string) => {
    try {
      return readFileSync(file);
    } catch (error) {
      throw new ConfigError([`${variable}: ${(error as Error).message}`]);
    }
  };
  return {
    certificateChain: read(files.certificate, 'CHANCERY_WORKER_TLS_CERT'),
    privateKey: read(files.key, 'CHANCERY_WORKER_TLS_KEY'),
    clientAuthorities: read(files.clientAuthorities, 'CHANCERY_WORKER_TLS_CA'),
  };
}

function ownPorts(config: {
  readonly databaseUrl: string;
  readonly redisUrl: string | undefined;
  readonly listen: { readonly port: number };
}): Set<number> {
  const ports = [config.listen.port, Number(new URL(config.databaseUrl).port || 5432)];
  if (config.redisUrl !== undefined) ports.push(Number(new URL(config.redisUrl).port || 6379));
  return new Set(ports);
}

main().catch((error: unknown) => {
  const message =
    error instanceof ConfigError || error instanceof DomainError ? error.message : error instanceof Error ? error.stack : String(error);
  process.stderr.write(`${message}\n`);
  process.exit(1);
});
