import { join } from 'node:path';

import { StartedProcess } from '../machine/started-process.js';
import type { Site } from './contender.js';

/** As many worker threads as Chancery's agent gives its Envoy. */
export const ENVOY_CONCURRENCY = 2;

/** Starts an Envoy that its control plane configures. @param bootstrap A file name in the site's folder. */
export function startEnvoy({ envoy, folder }: Site, bootstrap: string, words: readonly string[] = []): StartedProcess {
  const quiet = ['--disable-hot-restart', '--log-level', 'error', '--concurrency', String(ENVOY_CONCURRENCY)];
  return new StartedProcess({ command: envoy, words: ['-c', join(folder, bootstrap), ...quiet, ...words], folder, name: 'envoy' });
}
