import type { LiveRelease } from '#platform/xds/generated/delivery.js';
import { resourceId } from '#platform/xds/xds-resource.js';

/** A resource of a set as a release names it: by the hash of its content. */
export interface ResourceRef {
  readonly typeUrl: string;
  readonly name: string;
  readonly sha256: string;
  readonly needs: readonly string[];
}

type Refs = Map<string, ResourceRef>;

/** A release that could be computed, and how to take it back. */
interface Step {
  readonly release: LiveRelease;
  readonly undo: { readonly whole: Refs } | { readonly entries: readonly (readonly [string, ResourceRef | undefined])[] };
}

/**
 * The sets of resources that a row of releases makes, one after the other: each says what it changes in the set before. A release whose base is lost cannot be
 * computed and is passed over; one whose base is an older set takes back what came in between, as happened when the node passed over a
 * damaged one before.
 */
export class LiveHistory {
  #refs: Refs = new Map();
  readonly #steps: Step[] = [];

  /** The newest release that could be computed. */
  get newest(): LiveRelease | null {
    return this.#steps.at(-1)?.release ?? null;
  }

  get size(): number {
    return this.#refs.size;
  }

  /** The set of the newest release, by resourceId. */
  get refs(): ReadonlyMap<string, ResourceRef> {
    return this.#refs;
  }

  /** False when the release does not follow any set that is known. */
  add(release: LiveRelease): boolean {
    if (release.baseDigest === '') {
      this.#steps.push({ release, undo: { whole: this.#refs } });
      this.#refs = new Map();
      for (const item of release.changed) this.#refs.set(resourceId(item), refOf(item));
      return true;
    }
    const base = this.#steps.findLastIndex((step) => step.release.digest === release.baseDigest);
    if (base < 0) return false;
    while (this.#steps.length > base + 1) this.back();
    const entries: [string, ResourceRef | undefined][] = [];
    const change = (id: string, ref: ResourceRef | undefined) => {
      entries.push([id, this.#refs.get(id)]);
      if (ref === undefined) this.#refs.delete(id);
      else this.#refs.set(id, ref);
    };
    for (const item of release.changed) change(resourceId(item), refOf(item));
    for (const name of release.removed) change(resourceId(name), undefined);
    this.#steps.push({ release, undo: { entries } });
    return true;
  }

  /** Takes the newest release back; answers the ids that changed by it, or null when they may be all. */
  back(): readonly string[] | null {
    const step = this.#steps.pop();
    if (step === undefined) return [];
    if ('whole' in step.undo) {
      this.#refs = step.undo.whole;
      return null;
    }
    for (const [id, ref] of [...step.undo.entries].reverse()) {
      if (ref === undefined) this.#refs.delete(id);
      else this.#refs.set(id, ref);
    }
    return step.undo.entries.map(([id]) => id);
  }

  /** Releases up to the newest, newest first. */
  *releases(): Generator<LiveRelease> {
    for (let at = this.#steps.length - 1; at >= 0; at--) {
      const step = this.#steps[at];
      if (step !== undefined) yield step.release;
    }
  }
}

function refOf({ typeUrl, name, sha256, needs }: LiveRelease['changed'][number]): ResourceRef {
  return { typeUrl, name, sha256: Buffer.from(sha256).toString('hex'), needs };
}
