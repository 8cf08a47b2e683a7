import { isRunning, type ProcessIdentity } from '#platform/envoy/process-identity.js';
import { findPortOwner } from '#platform/network/listening-port.js';

import { type DataFolder, readState, wipeDataFolder } from './data-folder.js';
import { stopLeftPostgres } from './dev-database.js';
import type { DevOptions } from './dev-options.js';
import { endProcesses, findEnvoys, findOrphans, type Orphan } from './orphans.js';
import type { Reporter } from './reporter.js';

const END_DEADLINE_MS = 12_000; // longer than the grace that children of a killed supervisor give themselves

/** What an earlier run left that goes on under this one. */
export interface Inheritance {
  /** Demo services by name. */
  readonly demos: ReadonlyMap<string, ProcessIdentity>;
  /** Pids whose ports are ours. */
  readonly pids: ReadonlySet<number>;
}

/**
 * Sorts out what a killed bin/dev left behind. What carries traffic is kept: Envoy (its agent adopts it), Postgres (adopted when it is started) and the
 * demo services of the same build. Everything else is ended. With --fresh everything is ended and the folder emptied.
 */
export async function takeOver(folder: DataFolder, options: DevOptions, build: string, reporter: Reporter): Promise<Inheritance> {
  const orphans = findOrphans(folder.path);
  const kept = options.fresh || !options.demo ? [] : orphans.filter((orphan) => isUsableDemo(orphan, build, folder));
  const ended = orphans.filter((orphan) => !kept.includes(orphan));
  if (ended.length > 0) {
    reporter.note(
      `an earlier bin/dev was killed; ending what it left: ${ended.map(({ name, process }) => `${name} (pid ${process.pid})`).join(', ')}`,
    );
    await endProcesses(
      ended.map((orphan) => orphan.process),
      END_DEADLINE_MS,
    );
  }
  if (options.fresh) {
    await endProcesses(findEnvoys(folder.node), END_DEADLINE_MS);
    await stopLeftPostgres(folder);
    wipeDataFolder(folder);
    return { demos: new Map(), pids: new Set() };
  }
  const envoys = findEnvoys(folder.node);
  const alive = kept.filter(({ process }) => isRunning(process));
  const names = [...(envoys.length > 0 ? ['Envoy'] : []), ...alive.map(({ name }) => name)];
  if (names.length > 0) reporter.note(`taking over from an earlier bin/dev: ${names.join(', ')}`);
  return {
    demos: new Map(alive.map(({ name, process }) => [name, process])),
    pids: new Set([...envoys, ...alive.map(({ process }) => process)].map(({ pid }) => pid)),
  };
}

function isUsableDemo(orphan: Orphan, build: string, folder: DataFolder): boolean {
  const port = readState(folder).ports[orphan.name];
  return (
    ['usersvc', 'gruesvc'].includes(orphan.name) &&
    orphan.build === build &&
    port !== undefined &&
    findPortOwner(port).pid === orphan.process.pid
  );
}
