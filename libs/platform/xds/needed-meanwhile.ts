import type { TypeProgress } from './type-progress.js';

/** Clusters that what Envoy has needs, beside those that the sets need. */
export interface Needed {
  readonly clusters: ReadonlySet<string>;
  /** Any cluster may be needed: there is something of which nobody knows what it needs. */
  readonly any: boolean;
}

/** What those resources need that Envoy has, or may have, otherwise than they are wanted: only these can need what the sets do not. */
export function collectNeeded(having: readonly TypeProgress[], comesBackWithClusters: boolean): Needed {
  const clusters = new Set<string>();
  let any = false;
  for (const progress of having) {
    // Envoy says what it has of a type when it asks for it. One that comes back with clusters may have anything of the others.
    if (comesBackWithClusters && !progress.subscribed) any = true;
    for (const name of differing(progress)) {
      for (const held of [progress.held.get(name), progress.flight?.upserts.get(name), progress.doubts.get(name)]) {
        if (held === undefined) continue;
        if (held.needs === undefined) any = true;
        else for (const cluster of held.needs) clusters.add(cluster);
      }
    }
  }
  return { clusters, any };
}

/** Names of which Envoy has another version than is wanted, as far as the stream knows. */
function* differing(progress: TypeProgress): Iterable<string> {
  yield* progress.pending.keys();
  for (const group of progress.suspects) yield* group.keys();
  if (progress.flight !== undefined) {
    yield* progress.flight.upserts.keys();
    yield* progress.flight.removed;
  }
  yield* progress.rejections.keys();
  yield* progress.doubts.keys();
}
