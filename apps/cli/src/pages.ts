import type { ApiClient, QueryValue } from './api-client.js';

const LARGEST_PAGE = 1000;

/** The first `limit` items of a list, over as many of its pages as that takes. `next` is the cursor of what follows, null at the end. */
export async function readPages<T>(
  api: ApiClient,
  path: string,
  options: { readonly query?: Readonly<Record<string, QueryValue>>; readonly limit: number; readonly cursor?: string | undefined },
): Promise<{ items: T[]; next: string | null }> {
  const items: T[] = [];
  let cursor = options.cursor ?? null;
  do {
    const query = { ...options.query, limit: Math.min(LARGEST_PAGE, options.limit - items.length), cursor: cursor ?? undefined };
    const { body } = await api.get<{ items: T[]; next: string | null }>(path, { query });
    items.push(...body.items);
    cursor = body.next;
  } while (cursor !== null && items.length < options.limit);
  return { items, next: cursor };
}
