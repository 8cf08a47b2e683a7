import { randomUUID } from 'node:crypto';

import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { CreateGateway, CreateGatewayHandler } from '#features/gateway/create-gateway.js';
import { gatewayKind } from '#features/gateway/gateway.kind.js';
import { SubjectKinds } from '#features/history/subject-kind.js';
import { CreateMapping, CreateMappingHandler } from '#features/mapping/create-mapping.js';
import { guardedQueries } from '#features/mapping/guarded-queries.fixture.js';
import { inputOf } from '#features/mapping/mapping.fixture.js';
import { mappingKind } from '#features/mapping/mapping.kind.js';
import { MappingBudget } from '#features/mapping/mapping-budget.table.js';
import { principalKind } from '#features/principal/principal.kind.js';
import { type FindQuarantined, FindQuarantinedHandler } from '#features/restore/find-quarantined.js';
import { routeTestKind } from '#features/route-test/route-test.kind.js';
import { type Database, openDatabase } from '#platform/database/database.js';
import { EventStore } from '#platform/eventstore/event-store.js';
import { readSnapshot } from '#platform/eventstore/read-log.js';

import { createTestDatabase, type TestDatabase } from '../../../test/support/test-database.js';
import { ApplyChangeset, ApplyChangesetHandler } from './apply-changeset.js';
import type { Change } from './changeset.js';
import { ImportConfiguration, ImportConfigurationHandler } from './import-configuration.js';
import { parseDocument } from './import-input.js';

const kinds = new SubjectKinds([gatewayKind, mappingKind(new Set()), principalKind, routeTestKind]);
const rules = { mayConfigure: true, overrideQuarantine: false };

let db: TestDatabase;
let database: Database;
let events: EventStore;
beforeAll(async () => {
  db = await createTestDatabase();
  database = openDatabase({ url: db.url, applicationName: 'set-commands' });
  events = new EventStore({ database });
});
afterAll(async () => {
  await events.close();
  await database.close();
  await db.drop();
});

const request = () => ({ context: { commandId: randomUUID(), actor: 'system' }, dryRun: false });

/** A gateway that may have so many mappings, with the commands that make some. */
async function newGateway(name: string, limit: number) {
  await new CreateGatewayHandler(events).execute(new CreateGateway(name, {}, request()));
  const budget = new MappingBudget(database.db, limit);
  const quarantined = new FindQuarantinedHandler(database.db);
  const queries = guardedQueries(database.db, (query) => quarantined.execute(query as FindQuarantined));
  const applying = new ApplyChangesetHandler(events, kinds, budget, queries, database.db);
  const importing = new ImportConfigurationHandler(events, kinds, budget, queries);
  const creating = new CreateMappingHandler(events, queries, undefined, budget);
  const value = (mapping: string) => ({ prefix: `/${mapping}/`, service: 'usersvc' });
  return {
    apply: (changes: readonly Change[]) => applying.execute(new ApplyChangeset(name, changes, rules, request())),
    put: (...mappings: string[]) =>
      applying.execute(
        new ApplyChangeset(
          name,
          mappings.map((mapping) => ({ op: 'put', subject: `mapping/${mapping}`, value: value(mapping) })),
          rules,
          request(),
        ),
      ),
    bring: (mappings: readonly string[], prune = false) =>
      importing.execute(
        new ImportConfiguration(
          name,
          parseDocument({ mappings: mappings.map((mapping) => ({ name: mapping, ...value(mapping) })) }, kinds),
          { owner: undefined, prune },
          rules,
          request(),
        ),
      ),
    create: (mapping: string) => creating.execute(new CreateMapping(name, inputOf(mapping, { prefix: `/${mapping}/` }), request())),
    count: async () =>
      (await readSnapshot(database.db, `gateway/${name}`)).subjects.filter(({ subject }) => subject.startsWith('mapping/')).length,
  };
}

const full = expect.objectContaining({ kind: 'conflict', code: 'mapping_budget' });

test('sets and imports fill a gateway to its last place, and never more', async () => {
  const { apply, put, bring, create, count } = await newGateway('full', 5);
  await put('a', 'b', 'c');
  await expect(put('d', 'e', 'f')).rejects.toEqual(full);
  await expect(bring(['a', 'd', 'e', 'f'])).rejects.toEqual(full);
  expect((await put('a', 'd', 'e')).events).toHaveLength(2); // a is there
  await expect(create('f')).rejects.toEqual(full);
  expect(
    (
      await apply([
        { op: 'delete', subject: 'mapping/a' },
        { op: 'put', subject: 'mapping/f', value: { prefix: '/f/', service: 'x' } },
      ])
    ).events,
  ).toHaveLength(2);
  expect((await bring(['p', 'q', 'r', 's', 't'], true)).events).toHaveLength(10);
  await expect(create('u')).rejects.toEqual(full);
  expect(await count()).toBe(5);
});

test('at the same time too', async () => {
  const { put, create, count } = await newGateway('race', 250);
  const settled = await Promise.allSettled([
    ...Array.from({ length: 20 }, (_, i) => put(...Array.from({ length: 20 }, (_each, j) => `set${i}-${j}`))),
    ...Array.from({ length: 20 }, (_, i) => create(`one${i}`)),
  ]);
  const refused = settled.flatMap((result) => (result.status === 'rejected' ? [result.reason.code] : []));
  expect(new Set(refused)).toEqual(new Set(['mapping_budget']));
  const live = await count();
  expect(live).toBeLessThanOrEqual(250);
  expect(live).toBeGreaterThan(250 - 20); // a set for which there is no room leaves less than it wanted
});

test('an import does not overwrite what came between its look and its record: it looks again', async () => {
  const { bring, create, count } = await newGateway('between', 1000);
  const names = Array.from({ length: 300 }, (_, i) => `bulk${i}`);
  const [, ...others] = await Promise.all([bring(names), ...Array.from({ length: 10 }, (_, i) => create(`single${i}`))]);
  expect(others).toHaveLength(10);
  expect(await count()).toBe(310);
});
