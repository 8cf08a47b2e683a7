import { readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Manifest } from '#platform/xds/generated/delivery.js';
import { readCheckedJson, syncFolder, writeCheckedJson } from './durable-file.js';

/** Everything that a node needs to run one version: the manifest and the files it names. */
export interface Release {
  readonly manifest: Manifest;
  readonly bootstrap: Buffer;
  /** By cluster name. */
  readonly endpoints: ReadonlyMap<string, Buffer>;
}

/**
 * What is known about a release on disk; the end of its file's name, so that a change is one rename.
 *
 *   candidate ──proven──► good          it answered through the data plane: Envoy may be started with it, with nobody to ask
 *   candidate ──refused or failed──► refused     kept as evidence, never started
 */
export type Standing = 'candidate' | 'good' | 'refused';

export interface StoredRelease {
  readonly key: string;
  /** The beginning of its render's hash: releases with the same one differ in their endpoints alone. */
  readonly render: string;
  readonly standing: Standing;
}

/** Good releases that are kept; two more than ten, because the newest ones may be the faulty ones. */
const GOOD_KEPT = 12;
/** Of one render the newest endpoints, and the ones before in case that file is damaged. */
const SAME_RENDER_KEPT = 2;
const RENDER_DIGITS = 12;
const REFUSED_KEPT = 3;

/** Greater keys are later releases: lineage, term, sequence, each of fixed width. */
export function releaseKey(fence: { readonly lineage: number; readonly term: number; readonly sequence: number }): string {
  const digits = (value: number, width: number) => String(value).padStart(width, '0');
  return `${digits(fence.lineage, 6)}-${digits(fence.term, 10)}-${digits(fence.sequence, 10)}`;
}

/**
 * The releases of one node on its own disk: what Envoy is started with when everything else is dead. Each is one file, whole or not
 * there, with the SHA-256 of its content in its first line; one that is torn or has a flipped bit is passed over for the one before.
 */
export class ReleaseStore {
  readonly #folder: string;
  readonly #onFault: (key: string, reason: string) => void;

  constructor(folder: string, onFault: (key: string, reason: string) => void) {
    this.#folder = folder;
    this.#onFault = onFault;
  }

  /** Writes a release as a candidate. It is on the disk when this returns. */
  save(release: Release): string {
    const fence = release.manifest.fence;
    if (fence === undefined) throw new Error('a release without a fence cannot be stored');
    const key = releaseKey(fence);
    const render = release.manifest.renderSha256.slice(0, RENDER_DIGITS).padStart(RENDER_DIGITS, '0');
    writeCheckedJson(this.#path({ key, render, standing: 'candidate' }), {
      manifest: Manifest.toJSON(release.manifest),
      bootstrap: release.bootstrap.toString('utf8'),
      endpoints: Object.fromEntries([...release.endpoints].map(([cluster, bytes]) => [cluster, bytes.toString('utf8')])),
    });
    return key;
  }

  /** All releases on disk, newest first, readable or not. */
  list(): readonly StoredRelease[] {
    const found: StoredRelease[] = [];
    for (const name of readdirSync(this.#folder)) {
      const match = /^(\d+-\d+-\d+)\.([0-9a-f]+)\.(candidate|good|refused)$/.exec(name);
      const [, key, render, standing] = match ?? [];
      if (key !== undefined && render !== undefined) found.push({ key, render, standing: standing as Standing });
    }
    return found.sort((a, b) => (a.key < b.key ? 1 : a.key > b.key ? -1 : 0));
  }

  /** The release with this key, or null when it is not there or not whole (which is told once more to `onFault`). */
  read(key: string): Release | null {
    const stored = this.list().find((release) => release.key === key);
    if (stored === undefined) return null;
    const content = readCheckedJson(this.#path(stored));
    if (content === 'absent') return null; // superseded and dropped meanwhile
    if (content === 'damaged') {
      this.#onFault(key, 'its checksum is wrong: the file is torn or damaged');
      return null;
    }
    const parsed = content.value as { manifest: unknown; bootstrap: string; endpoints: Record<string, string> };
    return {
      manifest: Manifest.fromJSON(parsed.manifest),
      bootstrap: Buffer.from(parsed.bootstrap),
      endpoints: new Map(Object.entries(parsed.endpoints).map(([cluster, text]) => [cluster, Buffer.from(text)])),
    };
  }

  /** The newest release of these standings that is whole, with its key. */
  newest(...standings: readonly Standing[]): { readonly key: string; readonly standing: Standing; readonly release: Release } | null {
    for (const { key, standing } of this.list()) {
      if (!standings.includes(standing)) continue;
      const release = this.read(key);
      if (release !== null) return { key, standing, release };
    }
    return null;
  }

  /** Good releases that are whole, newest first, except that `first` (a key) leads when it is among them. */
  good({ first, atMost }: { first?: string | undefined; atMost: number }): readonly { readonly key: string; readonly release: Release }[] {
    const keys = this.list().flatMap(({ key, standing }) => (standing === 'good' ? [key] : []));
    const found: { key: string; release: Release }[] = [];
    for (const key of [...keys.filter((candidate) => candidate === first), ...keys.filter((candidate) => candidate !== first)]) {
      const release = found.length < atMost ? this.read(key) : null;
      if (release !== null) found.push({ key, release });
    }
    return found;
  }

  /** Changes what is known about a release, and drops those that are too many: never `running`, which an Envoy was started with. */
  mark(key: string, standing: Standing, { running }: { running?: string | undefined } = {}): void {
    const stored = this.list().find((release) => release.key === key);
    if (stored === undefined || stored.standing === standing) return;
    renameSync(this.#path(stored), this.#path({ ...stored, standing }));
    syncFolder(this.#folder);
    this.#prune(running);
  }

  #prune(running: string | undefined): void {
    const seen = { candidate: 0, good: 0, refused: 0 };
    const ofRender = new Map<string, number>();
    const [newest] = this.list();
    for (const stored of this.list()) {
      if (stored.standing === 'good') {
        const count = (ofRender.get(stored.render) ?? 0) + 1;
        ofRender.set(stored.render, count);
        if (count > SAME_RENDER_KEPT && stored.key !== running) {
          rmSync(this.#path(stored), { force: true });
          continue;
        }
      }
      seen[stored.standing] += 1;
      const tooOld =
        (stored.standing === 'good' && seen.good > GOOD_KEPT) ||
        (stored.standing === 'refused' && seen.refused > REFUSED_KEPT) ||
        // A candidate that a good one has overtaken was superseded and will never run.
        (stored.standing === 'candidate' && seen.good > 0 && stored.key !== newest?.key);
      if (tooOld && stored.key !== running) rmSync(this.#path(stored), { force: true });
    }
  }

  #path({ key, render, standing }: StoredRelease): string {
    return join(this.#folder, `${key}.${render}.${standing}`);
  }
}
