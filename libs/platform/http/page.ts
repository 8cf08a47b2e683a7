import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';

import { DomainError } from '#platform/kernel/errors.js';

const DEFAULT_PAGE = 100;
const MAX_PAGE = 1000;

/** The query parameters of every list. */
export const pageParameters = {
  limit: z.coerce
    .number('must be a number')
    .int()
    .min(1)
    .max(MAX_PAGE)
    .default(DEFAULT_PAGE)
    .describe(`How many items at most, 1 to ${MAX_PAGE}.`),
  cursor: z.string().max(1024).optional().describe('The `next` of the page before.'),
};

/** One page of a list. `next` is an opaque cursor, or null on the last page. */
export interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

/** A key (the last item's) as an opaque cursor. `kind` keeps a cursor of one list from being used on another. */
export function encodeCursor(kind: string, key: string | number): string {
  return Buffer.from(JSON.stringify([kind, key])).toString('base64url');
}

/** @throws DomainError malformed `cursor_invalid` for anything that this list did not hand out. */
export function decodeCursor<K extends 'string' | 'number'>(kind: string, type: K, cursor: string): K extends 'string' ? string : number {
  try {
    const [saidKind, key] = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    if (saidKind === kind && typeof key === type) return key;
  } catch {
    // Falls through: what cannot be read was not handed out by us.
  }
  const message = 'This cursor does not belong to this list; leave it out to start from the first page.';
  throw new DomainError('malformed', 'cursor_invalid', message, { errors: [{ pointer: '/cursor', code: 'cursor_invalid', message }] });
}

/** A page out of `limit + 1` rows: the extra one only says that there is more. */
export function toPage<T>(rows: readonly T[], limit: number, kind: string, key: (item: T) => string | number): Page<T> {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return { items, next: rows.length > limit && last !== undefined ? encodeCursor(kind, key(last)) : null };
}

/** Sends a page: its Link header says where the next one is (RFC 8288). */
export function answerPage<T>(request: FastifyRequest, reply: FastifyReply, page: Page<T>): Page<T> {
  if (page.next !== null) reply.header('Link', nextLink(request.url, page.next));
  return page;
}

/** The same address with the next cursor. */
export function nextLink(url: string, next: string): string {
  const [path, query] = url.split('?', 2);
  const parameters = new URLSearchParams(query);
  parameters.set('cursor', next);
  return `<${path}?${parameters}>; rel="next"`;
}
