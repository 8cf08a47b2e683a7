import { join } from 'node:path';
import { readAgentConfig } from '#platform/config/agent-config.js';
import { ConfigError } from '#platform/config/environment.js';
import { EnvoyMissingError, installEnvoy } from '#platform/envoy/binary.js';
import { failpoint, useFailpoints } from '#platform/failpoint/failpoint.js';
import { createLog } from '#platform/log/log.js';
import { startAgent } from './agent.js';
import { NodeLockedError } from './node-lock.js';

const VERSION = '0.1.0';
/** SIGTERM to exit, whatever hangs, beside the time that clients have where Envoy ends too. */
const STOP_DEADLINE_MS = 9000;

/** One line for whoever started the agent. */
function say(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

async function main(): Promise<void> {
  // Whoever started the agent may be gone; the lines were for him, and Envoy is not to be left alone for that.
  process.stdout.on('error', () => {});
  const config = readAgentConfig();
  useFailpoints(config.failpointDir);
  const log = createLog({ process: 'agent', level: config.logLevel });
  const envoy = await installEnvoy({
    cacheDir: join(config.cacheDir ?? join(config.dataDir, 'cache'), 'envoy'),
    envoyPath: config.envoyPath,
    searchPath: config.searchPath,
    onProgress: (message) => log.info(message),
  });
  let ready = false;
  log.info({ target: config.target, envoy: envoy.version, path: envoy.path, folder: config.dataDir }, 'starting');
  const starting = startAgent({
    config,
    envoy,
    version: VERSION,
    log,
    failpoint,
    onEnvoy: ({ pid, epoch }) => {
      say({ event: 'envoy', pid, epoch });
      if (!ready) say({ event: 'ready', envoy: pid });
      ready = true;
    },
  });
  const stop = async () => {
    setTimeout(() => process.exit(1), STOP_DEADLINE_MS + (config.envoyOnExit === 'stop' ? config.exitGraceMs : 0)).unref();
    try {
      await (await starting).stop(config.envoyOnExit);
      process.exit(process.exitCode ?? 0);
    } catch (error) {
      log.error({ err: error }, 'the agent could not end in order');
      process.exit(1);
    }
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void stop());
  await starting;
}

main().catch((error: unknown) => {
  // What the operator can put right is told in words, all else with its trace.
  const known = error instanceof ConfigError || error instanceof EnvoyMissingError || error instanceof NodeLockedError;
  process.stderr.write(`${known ? (error as Error).message : ((error as Error).stack ?? String(error))}\n`);
  process.exit(1);
});
