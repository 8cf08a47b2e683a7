import { randomUUID } from 'node:crypto';

import { type Database, openDatabase } from '#platform/database/database.js';
import { type CommandContext, EventStore, type NewEvent } from '#platform/eventstore/event-store.js';

import { createTestDatabase, type TestDatabase } from './test-database.js';

/** A migrated database of the file's own with a store on it. */
export interface LogFixture {
  readonly test: TestDatabase;
  readonly database: Database;
  readonly store: EventStore;
  /** Another process' store, in effect: a pool of its own. Closed with the fixture. */
  anotherStore(options?: { deadlineMs?: number; maxConnections?: number }): EventStore;
  /** Runs SQL as the superuser. */
  asAdmin<R extends object>(text: string, values?: unknown[]): Promise<R[]>;
  close(): Promise<void>;
}

export async function openLog(): Promise<LogFixture> {
  const test = await createTestDatabase();
  const databases: Database[] = [];
  const stores: EventStore[] = [];
  const open = (url: string, maxConnections: number) => {
    const database = openDatabase({ url, applicationName: 'spec', maxConnections });
    databases.push(database);
    return database;
  };
  const anotherStore = ({ deadlineMs, maxConnections }: { deadlineMs?: number; maxConnections?: number } = {}) => {
    const store = new EventStore({ database: open(test.url, maxConnections ?? 4), ...(deadlineMs === undefined ? {} : { deadlineMs }) });
    stores.push(store);
    return store;
  };
  const admin = open(test.adminUrl, 2);
  const store = anotherStore({ maxConnections: 10 });
  return {
    test,
    database: databases[1]!,
    store,
    anotherStore,
    asAdmin: async (text, values = []) => (await admin.pool.query(text, values)).rows,
    async close() {
      for (const each of stores) await each.close();
      for (const each of databases) await each.close();
      await test.drop();
    },
  };
}

/** A command of nobody in particular, with an id of its own. */
export function aContext(more: Partial<CommandContext> = {}): CommandContext {
  return { commandId: randomUUID(), action: 'PutThing', actor: 'token/t1', ...more };
}

/** An event of an invented kind: `state` null ends the subject. */
export function anEvent(subject: string, state: NewEvent['state'], more: Partial<NewEvent> = {}): NewEvent {
  return { type: state ? 'ThingPut' : 'ThingEnded', schemaVersion: 1, subject, state, ...more };
}
