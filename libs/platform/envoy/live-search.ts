import { LiveRelease } from '#platform/xds/generated/delivery.js';
import { type ResourceKey, resourceId, type XdsResource } from '#platform/xds/xds-resource.js';
import { type Frame, payloadOf, scanFrames } from './live-frame.js';
import { LiveHistory, type ResourceRef } from './live-history.js';

/** What became of a release. */
export type LiveStanding = 'proven' | 'failed';

/** What is given in place of a refused version, by its hash. */
export interface Instead {
  readonly sha256: string;
  readonly needs: readonly string[];
}

/** A note beside the releases. */
export type LiveMark =
  | { readonly releaseId: string; readonly standing: LiveStanding }
  | { readonly refused: readonly (ResourceKey & { readonly version: string; readonly instead: Instead | null })[] };

/** A release with everything that it takes to serve it. */
export interface StoredLive {
  /** Without the values of its resources and the bytes of its bootstrap. */
  readonly release: LiveRelease;
  readonly resources: readonly XdsResource[];
  readonly bootstrap: Buffer;
  readonly standing: LiveStanding | undefined;
  /** Releases since the last proven one, oldest first, this one included; none when it is proven. */
  readonly unproven: readonly LiveRelease[];
  readonly refused: readonly (ResourceKey & { readonly version: string; readonly instead: XdsResource | null })[];
}

interface Place {
  readonly segment: number;
  readonly bytes: Buffer;
  readonly frame: Frame;
}

/** One look through segments for the newest release that is whole. Give it the segments oldest first, then `find`. */
export class LiveSearch {
  readonly #wanted: (release: LiveRelease, standing: LiveStanding | undefined) => boolean;
  readonly #objects = new Map<string, Place[]>();
  readonly #history = new LiveHistory();
  readonly #standings = new Map<string, LiveStanding>();
  readonly #proven = new Map<number, number>();
  readonly #whole = new Map<string, Buffer | null>();
  #refused: Extract<LiveMark, { refused: unknown }>['refused'] = [];
  readonly faults: string[] = [];
  /** What was written last, whole or not. */
  last: LiveRelease | null = null;
  /** The answer. */
  found: StoredLive | null = null;

  constructor(wanted: (release: LiveRelease, standing: LiveStanding | undefined) => boolean) {
    this.#wanted = wanted;
  }

  read(segment: number, bytes: Buffer): void {
    const scanned = scanFrames(bytes, (at) => this.faults.push(`segment ${segment} is torn or damaged at byte ${at}`));
    for (const frame of scanned) {
      if (frame.kind === 'object') {
        const places = this.#objects.get(frame.sha256);
        if (places === undefined) this.#objects.set(frame.sha256, [{ segment, bytes, frame }]);
        else places.push({ segment, bytes, frame });
        continue;
      }
      const payload = payloadOf(bytes, frame);
      if (payload === null) this.faults.push(`a ${frame.kind} in segment ${segment} is damaged`);
      else if (frame.kind === 'mark') this.#takeMark(segment, JSON.parse(payload.toString('utf8')) as LiveMark);
      else {
        // Copied: the message must not hold on to the whole segment.
        this.last = LiveRelease.decode(Buffer.from(payload));
        if (!this.#history.add(this.last)) this.faults.push(`a release in segment ${segment} follows one that is lost`);
      }
    }
  }

  /** How many releases were marked as proven in a segment. */
  provenIn(segment: number): number {
    return this.#proven.get(segment) ?? 0;
  }

  /** Hashes of the objects that a segment holds. */
  objectsIn(segment: number): Set<string> {
    const found = new Set<string>();
    for (const [sha256, places] of this.#objects) if (places.some((place) => place.segment === segment)) found.add(sha256);
    return found;
  }

  /** Goes back from the newest release until one is wanted and whole. */
  find(): void {
    let broken = this.#brokenOf(this.#history.refs.values());
    for (let release = this.#history.newest; release !== null; release = this.#history.newest) {
      const standing = this.#standings.get(release.releaseId);
      const bootstrap = broken.size > 0 || !this.#wanted(release, standing) ? null : this.#object(release.bootstrapSha256);
      if (bootstrap !== null) {
        this.found = this.#toStored(release, bootstrap, standing);
        return;
      }
      const changed = this.#history.back();
      if (changed === null) broken = this.#brokenOf(this.#history.refs.values());
      else for (const id of changed) this.#look(id, broken);
    }
  }

  #toStored(release: LiveRelease, bootstrap: Buffer, standing: LiveStanding | undefined): StoredLive {
    const resources = [...this.#history.refs.values()].map((ref) => this.#resource(ref)).filter((one) => one !== null);
    const unproven: LiveRelease[] = [];
    for (const older of this.#history.releases()) {
      if (this.#standings.get(older.releaseId) === 'proven') break;
      unproven.unshift(older);
    }
    const refused = this.#refused.map((one) => ({
      ...one,
      instead: one.instead === null ? null : this.#resource({ typeUrl: one.typeUrl, name: one.name, ...one.instead }),
    }));
    return { release, resources, bootstrap, standing, unproven, refused };
  }

  #resource({ typeUrl, name, sha256, needs }: ResourceRef): XdsResource | null {
    const value = this.#object(sha256);
    return value === null ? null : { typeUrl, name, version: sha256, value, needs };
  }

  #brokenOf(refs: Iterable<ResourceRef>): Set<string> {
    const broken = new Set<string>();
    for (const ref of refs) if (this.#object(ref.sha256) === null) broken.add(resourceId(ref));
    return broken;
  }

  #look(id: string, broken: Set<string>): void {
    const ref = this.#history.refs.get(id);
    if (ref === undefined || this.#object(ref.sha256) !== null) broken.delete(id);
    else broken.add(id);
  }

  /** The content with this hash from the newest place that has it whole; null when there is none. */
  #object(sha256: string): Buffer | null {
    const known = this.#whole.get(sha256);
    if (known !== undefined) return known;
    let content: Buffer | null = null;
    for (const { segment, bytes, frame } of [...(this.#objects.get(sha256) ?? [])].reverse()) {
      const payload = payloadOf(bytes, frame);
      if (payload === null) this.faults.push(`the object ${sha256.slice(0, 12)} in segment ${segment} is damaged`);
      else content ??= Buffer.from(payload);
      if (content !== null) break;
    }
    if (content === null) this.faults.push(`the object ${sha256.slice(0, 12)} is nowhere whole`);
    this.#whole.set(sha256, content);
    return content;
  }

  #takeMark(segment: number, mark: LiveMark): void {
    if ('refused' in mark) this.#refused = mark.refused;
    else {
      this.#standings.set(mark.releaseId, mark.standing);
      if (mark.standing === 'proven') this.#proven.set(segment, (this.#proven.get(segment) ?? 0) + 1);
    }
  }
}
