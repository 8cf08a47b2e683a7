import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { ImageStage } from './image-tree.js';

export interface ContainerOptions {
  /** The image as a folder. */
  readonly image: string;
  readonly stage: ImageStage;
  readonly words: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly mounts: readonly ContainerMount[];
}

export interface ContainerMount {
  readonly path: string;
  /** A folder of this machine; undefined: an empty one in memory. */
  readonly folder?: string;
  readonly readOnly?: boolean;
}

/** Why no container can be run here; undefined when one can. */
export function missingContainers(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'it needs Linux, and root to make namespaces';
  const { error, status, stderr } = spawnSync('unshare', ['--mount', '--pid', '--fork', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']);
  if (error === undefined && status === 0) return undefined;
  return `namespaces and mounts are not allowed here (${error?.message ?? stderr.toString().trim()})`;
}

/** As the base has it. */
const BASE_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Run by root in the new namespaces: mounts, then everything is given up. */
const ENTER = `
set -eu
root=$1 user=$2 group=$3 folder=$4 mounts=$5
shift 5
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
mkdir "$root/dev/shm"
for device in null zero full random urandom; do : >"$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
printf '%s\\n' "$mounts" | while IFS=' ' read -r at from options; do
  [ -n "$at" ] || continue
  if [ "$from" = - ]; then mount -t tmpfs -o mode=1777 tmpfs "$root$at"
  else mount --bind "$from" "$root$at"; mount -o "remount,bind,$options" "$root$at"; fi
done
exec setpriv --no-new-privs unshare --root "$root" --wd "$folder" --setgid "$group" --setuid "$user" "$@"
`;

/**
 * A process of the image as a container runs it, but for the network, which is this machine's: with its own process, mount, IPC and name namespaces, as
 * the image's user, without new privileges, on a root that cannot be written.
 */
export class Container {
  readonly #child: ChildProcess;
  readonly #exited: Promise<number | string>;
  #log = '';
  #output = '';

  constructor({ image, stage, words, env, mounts }: ContainerOptions) {
    const [user = '', group = ''] = stage.user.split(':');
    const lines = mounts.map(({ path, folder, readOnly }) => `${path} ${folder ?? '-'} ${readOnly ? 'ro' : 'rw'}`);
    this.#child = spawn(
      'unshare',
      [
        ...['--mount', '--pid', '--ipc', '--uts', '--fork', '--kill-child'],
        ...['/bin/sh', '-c', ENTER, 'sh', image, user, group, stage.folder, lines.join('\n'), ...words],
      ],
      { env: { PATH: BASE_PATH, ...stage.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] },
    );
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      this.#output += chunk.toString();
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#log = (this.#log + chunk.toString()).slice(-50_000);
    });
    this.#exited = new Promise((resolve) => this.#child.once('close', (code, signal) => resolve(signal ?? code ?? 'unknown')));
  }

  get log(): string {
    return this.#log;
  }

  /** Its end, by itself. */
  async done(): Promise<{ status: number | string; output: string; log: string }> {
    return { status: await this.#exited, output: this.#output, log: this.#log };
  }

  /** SIGTERM to its process 1, as the kubelet sends it; answers how it ended. */
  async stop(): Promise<number | string> {
    const pid = this.#child.pid ?? 0;
    const [inner] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
    if (inner !== undefined && inner > 0) process.kill(inner, 'SIGTERM');
    return this.#exited;
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }
}

/** The folders on which something will be mounted: a runtime makes them, since the image's root cannot be written. */
export function makeMountPoints(image: string, paths: readonly string[]): void {
  for (const path of ['/proc', '/dev', ...paths]) mkdirSync(join(image, path), { recursive: true });
}

/** Files as a mounted Secret has them with `defaultMode: 0440` and `fsGroup`. */
export function writeMountedSecret(folder: string, files: Readonly<Record<string, string>>, group: number): void {
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(folder, name), text);
    chownSync(join(folder, name), 0, group);
    chmodSync(join(folder, name), 0o440);
  }
}
