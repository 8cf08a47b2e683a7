import { randomUUID } from 'node:crypto';

import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { type Database, openDatabase } from '#platform/database/database.js';
import { EventStore, type NewEvent } from '#platform/eventstore/event-store.js';
import { sha256Hex } from '#platform/kernel/digest.js';

import { createTestDatabase, type TestDatabase } from '../../../test/support/test-database.js';
import { FindQuarantined, FindQuarantinedHandler, type StateNamed } from './find-quarantined.js';

let db: TestDatabase;
let database: Database;
let events: EventStore;
beforeAll(async () => {
  db = await createTestDatabase();
  database = openDatabase({ url: db.url, applicationName: 'quarantine' });
  events = new EventStore({ database });
});
afterAll(async () => {
  await events.close();
  await database.close();
  await db.drop();
});

const idOf = (subject: string, digest: string) => sha256Hex(`${subject}\n${digest}`).slice(0, 16);
const quarantine = (subject: string, digest: string): NewEvent => {
  const id = idOf(subject, digest);
  return {
    type: 'StateQuarantined',
    schemaVersion: 1,
    subject: `quarantine/${id}`,
    state: { id, subject, digest, reason: `bad ${digest}` },
  };
};
const record = (gateway: string, made: readonly NewEvent[]) =>
  events.handle(
    {
      stream: `rollout/${gateway}`,
      subjects: made.map(({ subject }) => subject),
      context: { commandId: randomUUID(), actor: 'system', action: 'QuarantineState' },
    },
    () => made,
  );
const find = (gateway: string, states: readonly StateNamed[]) =>
  new FindQuarantinedHandler(database.db).execute(new FindQuarantined(gateway, states));

test('finds the states that are asked for, by digest or by subject, among many', async () => {
  await record(
    'one',
    Array.from({ length: 2_100 }, (_, i) => quarantine(`mapping/m${i % 700}`, `d${i}`)),
  );
  expect(await find('one', [])).toEqual([]);
  expect(await find('one', [{ subject: 'mapping/m5', digest: 'd5' }])).toEqual([
    { subject: 'mapping/m5', digest: 'd5', id: idOf('mapping/m5', 'd5'), reason: 'bad d5' },
  ]);
  expect(await find('one', [{ subject: 'mapping/m6', digest: 'd5' }])).toEqual([]);
  expect((await find('one', [{ subject: 'mapping/m5' }])).map(({ digest }) => digest).sort()).toEqual(['d1405', 'd5', 'd705']);
  expect(
    await find(
      'one',
      Array.from({ length: 700 }, (_, i) => ({ subject: `mapping/m${i}` })),
    ),
  ).toHaveLength(2_100);
});

test('does not find what was lifted, nor what is another gateway’s', async () => {
  const one = quarantine('mapping/a', 'x');
  await record('two', [one]);
  expect(await find('two', [{ subject: 'mapping/a', digest: 'x' }])).toHaveLength(1);
  expect(await find('three', [{ subject: 'mapping/a', digest: 'x' }])).toEqual([]);
  await record('two', [{ ...one, type: 'QuarantineLifted', state: null }]);
  expect(await find('two', [{ subject: 'mapping/a', digest: 'x' }])).toEqual([]);
});
