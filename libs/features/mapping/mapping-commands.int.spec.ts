import { randomUUID } from 'node:crypto';

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { QueryBus } from '@nestjs/cqrs';

import { FindKnownService, FindKnownServiceHandler } from '#features/discovery/find-known-service.js';
import { CreateGateway, CreateGatewayHandler } from '#features/gateway/create-gateway.js';
import { ReadGateway, ReadGatewayHandler } from '#features/gateway/list-gateways.js';
import { type Database, openDatabase } from '#platform/database/database.js';
import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore } from '#platform/eventstore/event-store.js';

import { createTestDatabase } from '../../../test/support/test-database.js';
import { CreateMapping, CreateMappingHandler } from './create-mapping.js';
import { DeleteMapping, DeleteMappingHandler } from './delete-mapping.js';
import { FindMappingWarnings, FindMappingWarningsHandler } from './find-mapping-warnings.js';
import { guardedQueries } from './guarded-queries.fixture.js';
import { inputOf } from './mapping.fixture.js';
import { MappingBudget } from './mapping-budget.table.js';
import { fromJson } from './mapping-state.js';
import { OwnPorts } from './own-ports.js';
import { ReadSurroundings, ReadSurroundingsHandler } from './read-surroundings.js';
import { UpdateMapping, UpdateMappingHandler } from './update-mapping.js';

const request = (): CommandRequest => ({ context: { commandId: randomUUID(), actor: 'token/test' }, dryRun: false });

let test_: Awaited<ReturnType<typeof createTestDatabase>>;
let database: Database;
let events: EventStore;

beforeAll(async () => {
  test_ = await createTestDatabase();
  database = openDatabase({ url: test_.url, applicationName: 'mapping-test' });
  events = new EventStore({ database });
});

afterAll(async () => {
  await events?.close();
  await database?.close();
  await test_?.drop();
});

const newGateway = async (name: string) => {
  await new CreateGatewayHandler(events).execute(new CreateGateway(name, {}, request()));
  const queries = guardedQueries(database.db);
  const create = (mapping: string, fields: Parameters<typeof inputOf>[1], budget?: MappingBudget) =>
    new CreateMappingHandler(events, queries, new OwnPorts([]), budget).execute(
      new CreateMapping(name, inputOf(mapping, fields), request()),
    );
  const upsert = (mapping: string, fields: Parameters<typeof inputOf>[1], budget?: MappingBudget) =>
    new UpdateMappingHandler(events, queries, new OwnPorts([]), budget).execute(
      new UpdateMapping(name, mapping, { mode: 'upsert', input: inputOf(mapping, fields) }, request()),
    );
  const end = (mapping: string) => new DeleteMappingHandler(events, queries).execute(new DeleteMapping(name, mapping, request()));
  return { create, upsert, end };
};

test('one match has one owner, until it ends', async () => {
  const { create, upsert, end } = await newGateway('claims');
  expect((await create('user', { prefix: '/user/' })).version).toBe(2);
  const thief = create('thief', { prefix: '/user/', host: '*', precedence: 9 });
  await expect(thief).rejects.toMatchObject({ kind: 'conflict', code: 'claim_taken', extra: { owner: 'mapping/user' } });
  expect((await create('get', { prefix: '/user/', methods: ['GET'] })).version).toBe(3);
  await expect(upsert('get', { prefix: '/user/' })).rejects.toMatchObject({ code: 'claim_taken' });
  await end('user');
  expect((await upsert('get', { prefix: '/user/' })).version).toBe(5);
  expect((await upsert('get', { prefix: '/user/' })).unchanged).toBe(true);
});

test('the longest prefix that there may be is a claim that the database can index', async () => {
  const { create } = await newGateway('long');
  const prefix = `/${'x'.repeat(2047)}`;
  await create('long', { prefix, headers: { 'x-a': 'v'.repeat(1024) } });
  await expect(create('again', { prefix, headers: { 'x-a': 'v'.repeat(1024) } })).rejects.toMatchObject({ code: 'claim_taken' });
});

test('a full gateway takes changes and no new mapping', async () => {
  const { create, upsert, end } = await newGateway('full');
  const budget = new MappingBudget(database.db, 2);
  await create('a', { prefix: '/a/' }, budget);
  await create('b', { prefix: '/b/' }, budget);
  await expect(create('c', { prefix: '/c/' }, budget)).rejects.toMatchObject({ kind: 'conflict', code: 'mapping_budget' });
  await expect(upsert('c', { prefix: '/c/' }, budget)).rejects.toMatchObject({ code: 'mapping_budget' });
  expect((await upsert('b', { prefix: '/b2/' }, budget)).unchanged).toBe(false);
  await end('a');
  expect((await upsert('c', { prefix: '/c/' }, budget)).events).toHaveLength(1);
});

test('commands at the same time fill a gateway and never more', async () => {
  const { create, upsert, end } = await newGateway('race');
  const budget = new MappingBudget(database.db, 25);
  const many = (round: string, count: number) =>
    Promise.allSettled(
      Array.from({ length: count }, (_, i) => {
        const fields = { prefix: `/${round}/${i >> 1}/` }; // each match twice: some fail for another reason, and leave their place to others
        return (i % 3 === 0 ? upsert : create)(`${round}-${i}`, fields, budget);
      }),
    );
  const first = await many('a', 40);
  const codes = first.map((result) => (result.status === 'fulfilled' ? 'ok' : result.reason.code));
  expect(codes.filter((code) => code === 'ok')).toHaveLength(20);
  expect(codes.filter((code) => code === 'claim_taken')).toHaveLength(20);
  const second = await many('b', 40);
  const made = second.flatMap((result) => (result.status === 'fulfilled' ? [result.value.events[0]?.subject] : []));
  expect(made).toHaveLength(5);
  expect(second.some((result) => result.status === 'rejected' && result.reason.code === 'mapping_budget')).toBe(true);
  await end(String(made[0]).slice('mapping/'.length));
  await create('last', { prefix: '/last/' }, budget);
  await expect(create('more', { prefix: '/more/' }, budget)).rejects.toMatchObject({ code: 'mapping_budget' });
});

test('warnings are judged by what was read beside the write, and by a new look when another wrote in between', async () => {
  const { create } = await newGateway('beside');
  await create('inner', { prefix: '/in/side/' });
  const outcome = await create('outer', { prefix: '/in/', precedence: 1 });
  const queries: QueryBus = guardedQueries(database.db, (query) => {
    if (query instanceof ReadSurroundings) return new ReadSurroundingsHandler(queries, database.db).execute(query);
    if (query instanceof FindKnownService) return new FindKnownServiceHandler(database.db).execute(query);
    if (query instanceof ReadGateway) return new ReadGatewayHandler(database.db).execute(query);
    return Promise.reject(new Error(`nobody answers ${query.constructor.name}`));
  });
  const state = fromJson('outer', outcome.events[0]?.state ?? {});
  const codes = async (version: number) => {
    const beside = Promise.resolve({ version, mappings: [], service: { name: state.service, isKnown: true } });
    const warnings = await new FindMappingWarningsHandler(queries).execute(new FindMappingWarnings('beside', state, outcome, beside));
    return warnings.map(({ code }) => code).filter((code) => code !== 'unverified_service');
  };
  expect(await codes(outcome.version - 1)).toEqual([]);
  expect(await codes(outcome.version - 2)).toEqual(['makes_unreachable']);
});
