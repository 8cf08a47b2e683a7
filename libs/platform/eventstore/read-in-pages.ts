import { type Db, sqlQuery, type Tx } from '#platform/database/database.js';
import { Turn } from '#platform/kernel/turns.js';

/** Rows that are read at once: a millisecond or two of parsing. */
const PAGE = 1_000;

/**
 * The rows of one statement, of one snapshot, read page by page: a hundred thousand of them hold up nobody. For reads that may be that long; the transaction
 * around the pages costs a millisecond.
 */
export function readInPages<Row, R>(db: Db, text: string, values: readonly unknown[], each: (row: Row) => R): Promise<R[]> {
  return db
    .transaction()
    .setAccessMode('read only')
    .execute((tx) => readPages(tx, text, values, each));
}

/** The same in a transaction that is there. */
export async function readPages<Row, R>(tx: Tx, text: string, values: readonly unknown[], each: (row: Row) => R): Promise<R[]> {
  await sqlQuery(tx, 'SET LOCAL cursor_tuple_fraction = 1', []); // all rows are wanted, not the first ones soon
  const results: R[] = [];
  const turn = new Turn();
  await eachPage<Row>(tx, { text, values, pageSize: PAGE }, async (page) => {
    for (const row of page) results.push(each(row));
    if (turn.isOver) await turn.next();
  });
  return results;
}

/** Calls with one page of a statement's rows after the other; the server reads the next one while this one is taken. */
export async function eachPage<Row>(
  tx: Tx,
  { text, values, pageSize }: { readonly text: string; readonly values: readonly unknown[]; readonly pageSize: number },
  onPage: (page: readonly Row[]) => void | Promise<void>,
): Promise<void> {
  await sqlQuery(tx, `DECLARE pages NO SCROLL CURSOR FOR ${text}`, values);
  const fetch = () => sqlQuery<Row>(tx, `FETCH ${pageSize} FROM pages`, []);
  for (let page = await fetch(); page.length > 0; ) {
    const next = page.length < pageSize ? Promise.resolve([]) : fetch();
    next.catch(() => undefined); // awaited below, unless a row cannot be taken
    await onPage(page);
    page = await next;
  }
  await sqlQuery(tx, 'CLOSE pages', []);
}
