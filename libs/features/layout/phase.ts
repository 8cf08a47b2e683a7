/** What of the first path segment decides about a shard: all of it, its first characters, or nothing of it. */
export type SegmentPart = 'segment' | 'none' | number;

/**
 * One round of looking a request up: one shard of it is asked, and what finds no route there goes on to the next phase.
 * The shards of a phase are `<id>.<shards>.<n>`, all of which exist, so that another count of shards is other keys.
 */
export interface Phase {
  readonly id: string;
  /** Does the host decide about the shard too? Only where every host is an exact one. */
  readonly byHost: boolean;
  readonly part: SegmentPart;
  /** A power of two. */
  readonly shards: number;
}

/** The key of a shard: the name of its scope and what the request header must say. */
export function shardKey(phase: Phase, n: number): string {
  return `${phase.id}.${phase.shards}.${n}`;
}

/** Which shard of a phase a request asks; the filter in Envoy computes the same. Host in lower case, without port. */
export function shardOf(phase: Phase, host: string, segment: string): number {
  const part = phase.part === 'segment' ? segment : phase.part === 'none' ? '' : segment.slice(0, phase.part);
  return hash(phase.byHost ? `${host}\n${part}` : part) % phase.shards;
}

/**
 * A multiplicative hash that Lua's numbers compute exactly, its upper half added to the lower: the lower bits alone would depend on little more than
 * the sum of the characters, and names that are numbered would crowd. The text is ASCII: hosts and paths are.
 */
function hash(text: string): number {
  let x = 5381;
  for (let i = 0; i < text.length; i++) x = (Math.imul(x, HASH_FACTOR) + text.charCodeAt(i)) >>> 0;
  return (x % 65_536) + Math.floor(x / 65_536);
}

export const HASH_FACTOR = 1_000_003;

/** The first segment of a request's path, without the query. */
export function firstSegment(path: string): string {
  return /^\/([^/?#]*)/.exec(path)?.[1] ?? '';
}
