import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, test } from '@jest/globals';

import { listFiles } from './source-tree.js';

test('every variable that deploy/ and README.md name is read by the configuration', () => {
  const configuration = listFiles(['libs/platform/config'])
    .map(({ text }) => text)
    .join('\n');
  const named = listFiles(['deploy', 'README.md']).flatMap(({ path, text }) =>
    [...text.matchAll(/\b(CHANCERY_[A-Z_]+[A-Z]|DATABASE_URL|REDIS_URL|ENVOY_PATH)\b/g)].map((match) => ({ path, name: match[1] ?? '' })),
  );
  expect(named.length).toBeGreaterThan(10);
  const known = (name: string) => new RegExp(`\\b${name}\\b`).test(configuration);
  expect(named.filter(({ name }) => !known(name))).toEqual([]);
});

test('deploy/pin-bases.sh writes the digest of every base into the Dockerfile, and the newer one in its place', () => {
  const folder = mkdtempSync(join(tmpdir(), 'chancery-pin-'));
  const deploy = join(import.meta.dirname, '../../deploy');
  try {
    const file = join(folder, 'Dockerfile');
    copyFileSync(join(deploy, 'Dockerfile'), file);
    for (const digit of ['a', 'b']) {
      const digest = `sha256:${digit.repeat(64)}`;
      writeFileSync(
        join(folder, 'docker'),
        `#!/bin/sh\n[ "$*" = "buildx imagetools inspect --format {{.Manifest.Digest}} $6" ] && echo ${digest}\n`,
      );
      chmodSync(join(folder, 'docker'), 0o755);
      execFileSync(join(deploy, 'pin-bases.sh'), [file], { env: { PATH: `${folder}:${process.env.PATH}` } });
      const bases = [...readFileSync(file, 'utf8').matchAll(/^ARG (\w+)=(.*)$/gm)];
      expect(bases.map(([, , image]) => image?.replace(/^[\w./-]+:[\w.-]+@/, ''))).toEqual(Array(4).fill(digest));
      const text = readFileSync(file, 'utf8');
      // Whatever a stage begins with is one of these.
      expect([...text.matchAll(/^FROM (\S+)/gm)].map((match) => match[1])).toEqual(bases.map(([, name]) => `\${${name}}`));
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
