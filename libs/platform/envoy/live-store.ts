import { LiveRelease } from '#platform/xds/generated/delivery.js';
import type { ResourceKey, XdsResource } from '#platform/xds/xds-resource.js';
import { type FrameKind, frameHead } from './live-frame.js';
import { type Instead, type LiveMark, LiveSearch, type LiveStanding, type StoredLive } from './live-search.js';
import { LiveSegments } from './live-segments.js';

/** A version of a resource that Envoy has refused under a bootstrap, and what it is given instead: null for nothing. */
export interface RefusedResource extends ResourceKey {
  readonly version: string;
  readonly instead: XdsResource | null;
}

/** Everything that a new segment begins with. */
export interface LiveSnapshot {
  /** Its changes are left out: `resources` is the whole set. */
  readonly release: LiveRelease;
  readonly resources: readonly XdsResource[];
  readonly bootstrap: Buffer;
  readonly standing: LiveStanding | undefined;
  readonly refused: readonly RefusedResource[];
}

/** A new segment is begun when the newest has grown by this much, or by its own beginning when that is more. */
const GROWTH_BYTES = 8 * 1024 * 1024;
/** Proven sets that can be gone back to, whatever is dropped; two more than ten, because the newest ones may be the faulty ones. */
const PROVEN_KEPT = 12;
/** Two, so that every byte of the set is on the disk twice; and no more than this many, however few were proven. */
const SEGMENTS_KEPT = { min: 2, max: 8 };

/**
 * The releases of a node that is delivered live, on its own disk: what Envoy is given when everything else is dead.
 *
 * A segment begins with a whole set and goes on with changes, each written before Envoy gets it. Resources are objects named for their hash,
 * written once in a segment however many sets hold them. What is torn or damaged is passed over: an object is looked for in the
 * other segments, and when it is nowhere the release before is the newest one.
 */
export class LiveStore {
  readonly #segments: LiveSegments;
  readonly #onFault: (reason: string) => void;
  #growth = 0;
  #proven = new Map<number, number>();
  /** Hashes of the objects in the newest segment. */
  #objects = new Set<string>();
  #copy: { readonly objects: Set<string>; readonly tail: Buffer[] } | null = null;
  #damaged = false;
  #beginning = 0;
  #copying: Promise<void> = Promise.resolve();

  constructor(folder: string, onFault: (reason: string) => void) {
    this.#segments = new LiveSegments(folder);
    this.#onFault = onFault;
  }

  /** Reads what is there, for the first time: the newest release that is whole, and the one that was written last, whose fence counts. To be called once. */
  open(): { readonly newest: StoredLive | null; readonly last: LiveRelease | null } {
    const search = this.#search(() => true);
    for (const number of this.#segments.numbers) this.#proven.set(number, search.provenIn(number));
    const newest = this.#segments.numbers.at(-1);
    if (newest !== undefined) this.#objects = search.objectsIn(newest);
    this.#damaged = search.faults.length > 0;
    this.#beginning = this.#segments.size;
    return { newest: search.found, last: search.last };
  }

  /** The newest release that is whole and that `wanted` takes, from the disk. */
  newest(wanted: (release: LiveRelease, standing: LiveStanding | undefined) => boolean): StoredLive | null {
    return this.#search(wanted).found;
  }

  /** Whether it is time for `checkpoint`. */
  get wantsCheckpoint(): boolean {
    if (this.#copy !== null || this.#segments.numbers.length === 0) return false;
    const alone = this.#segments.numbers.length < SEGMENTS_KEPT.min && [...this.#proven.values()].some((count) => count > 0);
    return this.#damaged || alone || this.#growth > Math.max(GROWTH_BYTES, this.#beginning);
  }

  /**
   * Writes a release down: it survives this process when this returns.
   * @throws what the system says (a full disk, a read-only one); then nothing of it is there.
   */
  append(release: LiveRelease): void {
    const first = this.#segments.numbers.length === 0;
    const added = new Set<string>();
    this.#write(Buffer.concat([...framesOf(release, this.#objects, added)]));
    for (const sha256 of added) this.#objects.add(sha256);
    if (first) this.#beginning = this.#segments.size;
    const copy = this.#copy;
    if (copy !== null) copy.tail.push(Buffer.concat([...framesOf(release, copy.objects, copy.objects)]));
  }

  /** Resolves when the disk has what was written: it survives a power cut from then on. */
  synced(): Promise<void> {
    return this.#segments.synced();
  }

  /** Writes down what became of a release. A disk that takes nothing does not keep Envoy from going on. */
  mark(releaseId: string, standing: LiveStanding): void {
    const newest = this.#segments.numbers.at(-1);
    if (newest === undefined) return;
    this.#mark([markFrame({ releaseId, standing })]);
    if (standing === 'proven') this.#proven.set(newest, (this.#proven.get(newest) ?? 0) + 1);
  }

  /** Writes down which versions Envoy refuses under the bootstrap in force: the whole list, in place of the one before. */
  refuse(refused: readonly RefusedResource[]): void {
    this.#mark(refusedFrames(refused, this.#objects));
  }

  /** Begins a new segment with the whole set, beside the work: what is appended meanwhile is in both. */
  checkpoint(snapshot: LiveSnapshot): Promise<void> {
    this.#copying = this.#begin(snapshot);
    return this.#copying;
  }

  /** Waits for a segment that is being begun: nobody else may write here before. */
  async close(): Promise<void> {
    await this.#copying;
    this.#segments.close();
  }

  async #begin(snapshot: LiveSnapshot): Promise<void> {
    const { release, resources, bootstrap, standing, refused } = snapshot;
    const copy = { objects: new Set<string>(), tail: [] as Buffer[] };
    this.#copy = copy;
    const content = function* () {
      const changed = resources.map((resource) => itemOf(resource));
      yield* framesOf({ ...release, bootstrap, changed, removed: [], baseDigest: '' }, copy.objects, copy.objects);
      if (standing !== undefined) yield markFrame({ releaseId: release.releaseId, standing });
      yield* refusedFrames(refused, copy.objects);
    };
    try {
      await this.#segments.begin(content(), () => Buffer.concat(copy.tail));
      this.#objects = copy.objects;
      this.#beginning = this.#segments.size;
      this.#damaged = false;
      this.#proven.set(this.#segments.numbers.at(-1) ?? 0, standing === 'proven' ? 1 : 0);
      this.#prune();
    } catch (error) {
      this.#onFault(`a new segment could not be written: ${(error as Error).message}`);
      this.#damaged = false; // tried again when this one has grown
    } finally {
      this.#growth = 0;
      this.#copy = null;
    }
  }

  #mark(frames: readonly Buffer[]): void {
    const bytes = Buffer.concat(frames);
    this.#copy?.tail.push(bytes);
    try {
      this.#write(bytes);
    } catch (error) {
      this.#onFault(`what became of a release could not be written: ${(error as Error).message}`);
    }
  }

  #write(bytes: Buffer): void {
    this.#segments.append(bytes);
    this.#growth += bytes.length;
  }

  /** The newest segment alone as a rule; all of them when something is wrong with it. */
  #search(wanted: (release: LiveRelease, standing: LiveStanding | undefined) => boolean): LiveSearch {
    const { numbers } = this.#segments;
    for (const some of [numbers.slice(-1), numbers]) {
      const search = new LiveSearch(wanted);
      for (const number of some) search.read(number, this.#bytesOf(number));
      search.find();
      if ((search.found !== null && search.faults.length === 0) || some.length === numbers.length) {
        for (const fault of search.faults) this.#onFault(fault);
        return search;
      }
    }
    throw new Error('there is always a last attempt');
  }

  /** One that cannot be read is as one that is damaged from its first byte to its last. */
  #bytesOf(number: number): Buffer {
    try {
      return this.#segments.read(number);
    } catch (error) {
      this.#onFault(`segment ${number} cannot be read: ${(error as Error).message}`);
      return Buffer.alloc(0);
    }
  }

  #prune(): void {
    const { numbers } = this.#segments;
    let proven = 0;
    [...numbers].reverse().forEach((number, at) => {
      if (at >= SEGMENTS_KEPT.max || (at >= SEGMENTS_KEPT.min && proven >= PROVEN_KEPT)) {
        this.#segments.drop(number);
        this.#proven.delete(number);
      }
      proven += this.#proven.get(number) ?? 0;
    });
  }
}

const EMPTY = Buffer.alloc(0);

/** A release as frames: the objects that are not there already, then the release itself, which names them. Adds to `added`. */
function* framesOf(release: LiveRelease, known: ReadonlySet<string>, added: Set<string>): Generator<Uint8Array> {
  function* object(sha256: Uint8Array, value: Uint8Array) {
    const name = Buffer.from(sha256).toString('hex');
    if (known.has(name) || added.has(name)) return;
    added.add(name);
    yield frameHead('object', value, sha256);
    yield value;
  }
  for (const { sha256, value } of release.changed) yield* object(sha256, value);
  if (release.bootstrap.length > 0) yield* object(Buffer.from(release.bootstrapSha256, 'hex'), release.bootstrap);
  const changed = release.changed.map((item) => ({ ...item, value: EMPTY }));
  yield frame('release', LiveRelease.encode({ ...release, changed, bootstrap: EMPTY }).finish());
}

function refusedFrames(refused: readonly RefusedResource[], known: ReadonlySet<string>): readonly Buffer[] {
  const objects = refused.flatMap(({ instead }) =>
    instead === null || known.has(instead.version) ? [] : [frame('object', instead.value)],
  );
  const instead = (one: XdsResource | null): Instead | null => (one === null ? null : { sha256: one.version, needs: one.needs });
  return [...objects, markFrame({ refused: refused.map((one) => ({ ...one, instead: instead(one.instead) })) })];
}

function markFrame(mark: LiveMark): Buffer {
  return frame('mark', Buffer.from(JSON.stringify(mark)));
}

function frame(kind: FrameKind, payload: Uint8Array): Buffer {
  return Buffer.concat([frameHead(kind, payload), payload]);
}

/** A resource as a release holds it. */
export function itemOf({ typeUrl, name, version, value, needs }: XdsResource): LiveRelease['changed'][number] {
  return { typeUrl, name, sha256: Buffer.from(version, 'hex'), value, needs: [...needs] };
}

/** The reverse of itemOf. */
export function resourceOf({ typeUrl, name, sha256, value, needs }: LiveRelease['changed'][number]): XdsResource {
  return { typeUrl, name, version: Buffer.from(sha256).toString('hex'), value: Buffer.from(value), needs };
}
