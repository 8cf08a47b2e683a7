import type { LiveRelease } from '#platform/xds/generated/delivery.js';

/** What one proof has to show: the newest release and all before it that no proof has covered yet. */
export interface Unproven {
  /** The newest one. */
  readonly release: LiveRelease;
  /** The first gateway version that it covers; 0 when unknown. */
  readonly coversFrom: number;
  /** Path to body. */
  readonly probes: ReadonlyMap<string, string>;
  /** Of the served set: when Envoy has settled on it, the release is with Envoy. */
  readonly revision: number;
}

/** The last part of a probe's path is the name of the resource that answers it. */
export function probedName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/**
 * The releases since the last proof, as far as a proof needs them. One that is passed over is covered by the next: of each path the newest body is
 * what must be seen, and what a release changes without saying how it is seen is not asked for any more.
 */
export class UnprovenReleases {
  #list: Unproven[] = [];

  get newest(): Unproven | null {
    return this.#list.at(-1) ?? null;
  }

  get all(): readonly Unproven[] {
    return this.#list;
  }

  add(release: LiveRelease, revision: number): void {
    const probes = new Map(release.probes.map(({ path, body }) => [path, body]));
    this.#list.push({ release: withoutChanges(release), coversFrom: release.coversFrom, probes: stepOf(release, probes), revision });
  }

  /** All of them as one, which stands in their place from now on; null when there are none. */
  merge(): Unproven | null {
    const [first, ...rest] = this.#list;
    if (first === undefined) return null;
    let merged = first;
    for (const next of rest) merged = { ...next, coversFrom: merged.coversFrom, probes: follow(merged.probes, next.probes) };
    this.#list = [merged];
    return merged;
  }

  /** This one, as `merge` gave it, is proven. */
  settle(proven: Unproven): void {
    this.#list = this.#list.filter((one) => one !== proven);
  }

  clear(): void {
    this.#list = [];
  }
}

/** Bodies that are expected after a release, from those before it: '' stands for a path that is not asked for any more. */
function follow(before: ReadonlyMap<string, string>, next: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const gone = new Set([...next].filter(([, body]) => body === GONE).map(([path]) => probedName(path)));
  return new Map([...[...before].filter(([path]) => !gone.has(probedName(path))), ...next]);
}

/** No resource answers with nothing: an empty body means that the path says nothing any more. */
const GONE = '';

/** The probes of a release, and for every resource that it changes without a probe a path that is gone. */
function stepOf(release: LiveRelease, probes: Map<string, string>): ReadonlyMap<string, string> {
  const probed = new Set([...probes.keys()].map(probedName));
  for (const { name } of [...release.changed, ...release.removed]) if (!probed.has(name)) probes.set(`/${name}`, GONE);
  return probes;
}

/** The paths that are to be asked. */
export function askable(probes: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  return new Map([...probes].filter(([, body]) => body !== GONE));
}

/** A release as it is remembered: what it changes is in the set. */
export function withoutChanges(release: LiveRelease): LiveRelease {
  return { ...release, changed: [], removed: [], probes: [], bootstrap: Buffer.alloc(0) };
}
