import type { FastifyReply, FastifyRequest } from 'fastify';

import { DomainError } from '#platform/kernel/errors.js';

/**
 * Entity tags. A thing's tag is its own version, `"3"`; where the answer also shows a state that moves without a version (a mapping
 * that is not live yet), the tag carries it behind a dash, `"3-pending"`, so that a tag always stands for the same bytes.
 * In If-Match only the version counts: a state that moved is no reason to refuse a write. A tag `"g12"` is of the gateway as a whole.
 */
export function entityTag(version: number, state?: string): string {
  return state === undefined || state === 'live' ? `"${version}"` : `"${version}-${state}"`;
}

export type IfMatch =
  | { readonly any: true }
  | {
      readonly any: false;
      readonly versions: readonly number[];
      /** From a tag of the whole stream, `"g12"`. */
      readonly streamVersion?: number;
    };

/** The tag of a configuration as a whole, and of a plan: it holds while nothing of the gateway changes. */
export function streamTag(version: number): string {
  return `"g${version}"`;
}

const listOfTags = /^\s*(?:(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"\s*(?:,\s*|$))+$/;
const oneTag = /(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"/g;

/**
 * Reads If-Match. Weak tags and tags that are not ours match nothing (RFC 9110, 13.1.1), so `versions` may be empty.
 * @throws DomainError malformed when the header is not a list of tags.
 */
export function parseIfMatch(header: string): IfMatch {
  if (header.trim() === '*') return { any: true };
  if (!listOfTags.test(header)) {
    throw new DomainError('malformed', 'if_match_malformed', 'If-Match must be * or a list of quoted tags, for instance "3".');
  }
  const tags = [...header.matchAll(oneTag)].filter(([, weak]) => weak === undefined).map(([, , tag]) => tag ?? '');
  const numbers = (pattern: RegExp) => tags.flatMap((tag) => pattern.exec(tag)?.[1] ?? []).map(Number);
  const [streamVersion] = numbers(/^g(0|[1-9]\d{0,14})$/);
  const versions = numbers(/^(0|[1-9]\d{0,14})(?:-.*)?$/);
  return { any: false, versions, ...(streamVersion === undefined ? {} : { streamVersion }) };
}

/** True when If-None-Match of a GET names the tag (weak comparison): answer 304. */
export function noneMatchHolds(header: string | undefined, tag: string): boolean {
  if (header === undefined) return false;
  if (header.trim() === '*') return true;
  return [...header.matchAll(oneTag)].some(([, , value]) => `"${value}"` === tag);
}

/** Answers a read with its tag: the body, or 304 and nothing when the client has these very bytes. */
export function tagged<T>(request: FastifyRequest, reply: FastifyReply, tag: string, body: T): T | undefined {
  reply.header('ETag', tag);
  if (!noneMatchHolds(request.headers['if-none-match'], tag)) return body;
  reply.status(304);
  return undefined;
}
