import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';

import { type Database, openDatabase, sqlQuery } from '#platform/database/database.js';

import { createTestDatabase, type TestDatabase } from '../../../../test/support/test-database.js';
import { EnvoyRows } from './envoy-rows.js';

let house: TestDatabase;
let database: Database;
let rows: EnvoyRows;
const errors: unknown[] = [];

beforeEach(async () => {
  house = await createTestDatabase();
  database = openDatabase({ url: house.url, applicationName: 'spec' });
  rows = new EnvoyRows(database.db, (err) => errors.push(err));
  errors.length = 0;
  const owner = openDatabase({ url: house.ownerUrl, applicationName: 'spec' });
  await sqlQuery(
    owner.db,
    `create table chancery.statement_count (n bigint not null); insert into chancery.statement_count values (0);
     create function chancery.count_statement() returns trigger language plpgsql security definer as
       $$ begin update chancery.statement_count set n = n + 1; return null; end $$;
     create trigger counted after insert or update on chancery.target for each statement execute function chancery.count_statement();
     grant select on chancery.statement_count to public`,
    [],
  );
  await owner.close();
});
afterEach(async () => {
  await rows.close();
  await database.close();
  await house.drop();
});

const target = (name: string, newSecret = 'first') => ({
  name,
  gateway: 'default',
  worker: 'w',
  facts: { peer: '127.0.0.1:1' },
  newSecret,
});
const statements = async () => Number((await sqlQuery<{ n: number }>(database.db, 'select n from chancery.statement_count', []))[0]?.n);
const rowsOf = (columns: string) =>
  sqlQuery<Record<string, unknown>>(database.db, `select ${columns} from chancery.target order by name`, []);

/** Until the rows say so. */
async function until(columns: string, fits: (row: Record<string, unknown>) => boolean): Promise<Record<string, unknown>[]> {
  for (;;) {
    const all = await rowsOf(columns);
    if (all.every(fits)) return all;
  }
}

describe('the rows of Envoys without agents', () => {
  test('a thousand that dial, acknowledge and go take a few statements and not thousands', async () => {
    const names = Array.from({ length: 1_000 }, (_, i) => `e${i}`);
    const opened = await Promise.all(names.map((name, i) => rows.open(target(name, `secret-${i}`))));
    expect(opened.map(({ term }) => term)).toEqual(names.map(() => 1));
    const owners = names.map((name) => ({ target: name, term: 1 }));
    for (const owner of owners) rows.acknowledged(owner, { version: 7, error: '' });
    await until('applied_version', (row) => row.applied_version === 7);
    for (const owner of owners) rows.acknowledged(owner, { version: 7, error: '' }); // the rows say so already
    for (const owner of owners) rows.gone(owner);
    await until('worker', (row) => row.worker === null);
    expect(await statements()).toBeLessThan(20);
    expect(errors).toEqual([]);
  });

  test('all of a gateway have the secret of its first, also those that another worker enrols', async () => {
    await rows.open(target('e1', 'first'));
    const second = await rows.open(target('e2', 'second'));
    const other = await rows.open({ ...target('e3', 'third'), gateway: 'other' });
    expect([second.proofSecret, other.proofSecret]).toEqual(['first', 'third']);
    expect((await rows.open(target('e1', 'fourth'))).proofSecret).toBe('first');
  });

  test('the newest of one Envoy is written, and nothing of a stream that another has replaced', async () => {
    const twice = await Promise.all([rows.open(target('e1')), rows.open(target('e1'))]);
    expect(twice.map(({ term }) => term)).toEqual([1, 2]);
    rows.acknowledged({ target: 'e1', term: 1 }, { version: 9, error: 'of the old stream' });
    const owner = { target: 'e1', term: 2 };
    for (let version = 1; version <= 5; version++) rows.acknowledged(owner, { version, error: `refuses ${version}` });
    expect(await until('applied_version, error, worker', (row) => row.applied_version !== 0)).toEqual([
      { applied_version: 5, error: 'refuses 5', worker: 'w' },
    ]);
    rows.gone({ target: 'e1', term: 1 });
    await rows.close();
    expect(await rowsOf('worker')).toEqual([{ worker: 'w' }]);
  });

  test('one that cannot be opened keeps nobody else from it, and is told why', async () => {
    await rows.open({ ...target('elsewhere'), gateway: 'other' });
    const [good, bad] = await Promise.allSettled([rows.open(target('e1')), rows.open(target('elsewhere'))]);
    expect(good.status).toBe('fulfilled');
    expect(bad).toMatchObject({ status: 'rejected', reason: { code: 'target_elsewhere' } });
  });
});
