import type { JsonObject } from '#platform/kernel/json.js';

import { type UpstreamTls, upstreamTlsOf } from './upstream-tls.js';

/** One route of a gateway, as it is recorded: complete and normalised, with no default left open. */
export interface MappingState {
  readonly name: string;
  /** `*`, an exact name or `*.suffix`; lower case, without port and trailing dot. */
  readonly host: string;
  /** Exactly one of `prefix` and `path` is set. */
  readonly prefix: string | null;
  readonly path: string | null;
  /** As its author wrote it; service-reference.ts says what it means. */
  readonly service: string;
  /** What takes the place of the matched prefix or path. */
  readonly rewrite: string;
  /** Upper case, sorted; empty for any method. */
  readonly methods: readonly string[];
  /** Lower-case names, exact values; a request must have all of them. */
  readonly headers: Readonly<Record<string, string>>;
  /** Higher is asked first, among the mappings of one host. */
  readonly precedence: number;
  /** The whole request, up to the last byte of the answer's head; in milliseconds. */
  readonly timeoutMs: number;
  readonly labels: Readonly<Record<string, string>>;
  /** Left out where an https service is reached by its own name and checked against the public authorities. */
  readonly tls?: UpstreamTls | undefined;
}

/** The request part of a mapping: what decides whether it is asked at all. */
export type MappingMatch = Pick<MappingState, 'host' | 'prefix' | 'path' | 'methods' | 'headers'>;

export function toJson(state: MappingState): JsonObject {
  const { tls, ...rest } = state;
  return { ...rest, methods: [...state.methods], ...(tls === undefined ? {} : { tls: { ...tls } }) };
}

/**
 * A mapping out of the log. Everything there was validated when it was written, perhaps by an older or newer version:
 * what is missing gets its default and what has the wrong type is dropped, so that no event can stop a reader.
 * A state that makes no sense is still found by `compile`, which sets it aside by itself.
 */
export function fromJson(name: string, json: JsonObject): MappingState {
  const text = (value: unknown): string | null => (typeof value === 'string' ? value : null);
  const number = (value: unknown, fallback: number): number => (typeof value === 'number' && Number.isFinite(value) ? value : fallback);
  return {
    name,
    host: text(json.host) ?? '*',
    prefix: text(json.prefix),
    path: text(json.path),
    service: text(json.service) ?? '',
    rewrite: text(json.rewrite) ?? '/',
    methods: Array.isArray(json.methods) ? json.methods.filter((method) => typeof method === 'string') : [],
    headers: texts(json.headers),
    precedence: number(json.precedence, 0),
    timeoutMs: number(json.timeoutMs, 5000),
    labels: texts(json.labels),
    ...(json.tls === undefined ? {} : { tls: upstreamTlsOf(json.tls) }),
  };
}

function texts(value: unknown): Record<string, string> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return {};
  return Object.fromEntries(Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
}
