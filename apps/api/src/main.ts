import { type ApiConfig, readApiConfig } from '#platform/config/api-config.js';
import { ConfigError } from '#platform/config/environment.js';
import { useFailpoints } from '#platform/failpoint/failpoint.js';
import { createLog, type Log } from '#platform/log/log.js';
import { describePortOwner, findPortOwner } from '#platform/network/listening-port.js';

import type { Api } from './api.js';

/** SIGTERM to exit: supervisors kill after 10 s. */
const END_DEADLINE_MS = 9_000;

function readConfig(): ApiConfig {
  try {
    return readApiConfig();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(2);
  }
}

async function start(config: ApiConfig, log: Log): Promise<Api> {
  try {
    const { startApi } = await import('./api.js'); // after the configuration: one that is wrong is told of at once
    return await startApi({ config, log });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const { host, port } = config.listen;
    if (code === 'EADDRINUSE') {
      process.stderr.write(
        `Port ${port} on ${host} is taken by ${describePortOwner(findPortOwner(port))}. End it, or choose another with CHANCERY_API_LISTEN.\n`,
      );
    } else if (code === 'EACCES' || code === 'EADDRNOTAVAIL') {
      process.stderr.write(`Cannot listen on ${host}:${port} (${code}). Choose another address with CHANCERY_API_LISTEN.\n`);
    } else {
      log.fatal({ err: error }, 'the api cannot start');
    }
    process.exit(1);
  }
}

async function main(): Promise<void> {
  const config = readConfig();
  const log = createLog({ process: 'api', level: config.logLevel });
  useFailpoints(config.failpointDir);
  const api = await start(config, log);
  let ending = false;
  const end = (signal: string) => {
    if (ending) return;
    ending = true;
    log.info({ signal }, 'ending');
    setTimeout(() => process.exit(1), END_DEADLINE_MS).unref();
    api.close().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ err: error }, 'the api did not end cleanly');
        process.exit(1);
      },
    );
  };
  process.once('SIGTERM', () => end('SIGTERM'));
  process.once('SIGINT', () => end('SIGINT'));
  try {
    await api.ready;
  } catch (error) {
    log.fatal({ err: error }, 'the api gives up: its database cannot be used');
    process.exit(1);
  }
  if (!ending) process.stdout.write(`${JSON.stringify({ event: 'ready', api: api.url })}\n`);
}

await main();
