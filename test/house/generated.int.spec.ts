import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';

import { root } from './source-tree.js';

const FOLDER = 'libs/platform/xds/generated';

test('generated code is what its sources generate, byte for byte', () => {
  const out = mkdtempSync(join(tmpdir(), 'chancery-generated-'));
  try {
    const run = spawnSync(process.execPath, [join(root, 'bin/generate.mjs'), '--out', out], { encoding: 'utf8', timeout: 60_000 });
    expect(run).toMatchObject({ status: 0, stderr: '' });
    const committed = readdirSync(join(root, FOLDER), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(root.length));
    expect(committed.length).toBeGreaterThan(0);
    const fresh = readdirSync(join(out, FOLDER), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(out.length + 1));
    expect(fresh.sort()).toEqual(committed.sort());
    for (const path of committed) expect(readFileSync(join(out, path), 'utf8')).toBe(readFileSync(join(root, path), 'utf8'));
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
});
