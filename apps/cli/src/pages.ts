import type { ApiAnswer, ApiClient, QueryValue } from './api-client.js';

const LARGEST_PAGE = 1000;

/** The first `limit` items of a list, over as many of its pages as that takes. `next` is the cursor of what follows, null at the end. */
export async function readPages<T>(
  api: ApiClient,
  path: string,
  options: {
    readonly query?: Readonly<Record<string, QueryValue>>;
    readonly limit: number;
    readonly onAnswer?: (headers: Headers) => void;
  },
): Promise<{ items: T[]; next: string | null }> {
  const items: T[] = [];
  let cursor: string | null = null;
  do {
    const query = { ...options.query, limit: Math.min(LARGEST_PAGE, options.limit - items.length), cursor: cursor ?? undefined };
    const answer: ApiAnswer<{ items: T[]; next: string | null }> = await api.get(path, { query });
    options.onAnswer?.(answer.headers);
    items.push(...answer.body.items);
    cursor = answer.body.next;
  } while (cursor !== null && items.length < options.limit);
  return { items, next: cursor };
}
