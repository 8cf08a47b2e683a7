import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { type Database, openDatabase } from '#platform/database/database.js';

import { createTestDatabase, type TestDatabase } from '../../../test/support/test-database.js';
import { type CommandContext, EventStore, type NewEvent } from './event-store.js';

let testDatabase: TestDatabase;
let database: Database;
let store: EventStore;

beforeAll(async () => {
  testDatabase = await createTestDatabase();
  database = openDatabase({ url: testDatabase.url, applicationName: 'spec' });
  store = new EventStore({ database });
});

afterAll(async () => {
  await store.close();
  await database.close();
  await testDatabase.drop();
});

const context = (more: Partial<CommandContext> = {}): CommandContext => ({
  commandId: randomUUID(),
  action: 'Test',
  actor: 'token/t1',
  ...more,
});
const event = (subject: string, state: NewEvent['state'], more: Partial<NewEvent> = {}): NewEvent => ({
  type: state ? 'ThingPut' : 'ThingEnded',
  schemaVersion: 1,
  subject,
  state,
  ...more,
});

test('a command becomes the next version of its stream, and its subjects are read back', async () => {
  const first = await store.handle({ stream: 'gateway/a', subjects: ['thing/x'], context: context() }, () => [event('thing/x', { n: 1 })]);
  expect(first).toMatchObject({
    version: 1,
    replayed: false,
    unchanged: false,
    events: [{ subject: 'thing/x', subjectVersion: 1, state: { n: 1 }, index: 0 }],
  });
  const second = await store.handle({ stream: 'gateway/a', subjects: ['thing/x'], context: context() }, (view) => {
    expect(view.subject('thing/x')).toMatchObject({ version: 1, streamVersion: 1, state: { n: 1 } });
    return [event('thing/x', null)];
  });
  expect(second).toMatchObject({ version: 2, events: [{ subjectVersion: 2, state: null }] });
  const third = await store.handle({ stream: 'gateway/a', subjects: ['thing/x'], context: context() }, () => [event('thing/x', { n: 3 })]);
  expect(third.events[0]).toMatchObject({ subjectVersion: 3 });
  expect((await database.pool.query("SELECT * FROM chancery.verify('gateway/a', 0, chancery.genesis_hash('gateway/a'))")).rows).toEqual([]);
});
