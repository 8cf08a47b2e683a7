import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Which build this is. */
export class Build {
  constructor(readonly version: string) {}
}

/** The version in the package.json above the running file: the sources' and the built tree's alike. */
export function readBuild(): Build {
  for (let folder = import.meta.dirname; folder !== dirname(folder); folder = dirname(folder)) {
    try {
      const { name, version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { name?: string; version?: string };
      if (name === 'chancery' && version !== undefined) return new Build(version);
    } catch {
      // No package.json here; the next folder up may have it.
    }
  }
  return new Build('0.0.0');
}
