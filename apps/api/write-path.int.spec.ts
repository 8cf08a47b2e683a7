import { afterAll, beforeAll, expect, it } from '@jest/globals';

import { startTestApi, type TestApi } from './test-api.js';

const startedAt = Date.now();
let test: TestApi;
/** How often a connection was taken: once a statement, where there is no transaction. */
let statements = 0;

beforeAll(async () => {
  test = await startTestApi({}, { now: () => startedAt }); // the clock stands still, so that no look at the token falls between
  test.api.database.pool.on('acquire', () => {
    statements += 1;
  });
});
afterAll(() => test?.close(), 30_000);

const mappings = '/v1/gateways/default/mappings';
const body = (name: string) => ({ name, prefix: `/${name}/`, service: '127.0.0.1:80' });

async function statementsOf(method: string, path: string, sent?: Parameters<TestApi['ask']>[2]): Promise<number> {
  const before = statements;
  const answer = await test.ask(method, path, sent);
  expect([200, 201]).toContain(answer.status);
  return statements - before;
}

it('takes two statements to record a change, and one beside them for its warnings', async () => {
  await test.ask('POST', mappings, { body: body('first') }); // looks at the token, and counts the mappings
  expect(await statementsOf('POST', mappings, { body: body('a') })).toBe(3);
  const { name: _, ...rest } = body('a');
  expect(await statementsOf('PUT', `${mappings}/a`, { body: { ...rest, rewrite: '/b/' } })).toBe(3);
  expect(await statementsOf('PATCH', `${mappings}/a`, { body: { rewrite: '/c/' } })).toBe(3);
  expect(await statementsOf('POST', '/ambassador/mapping/a', { body: { prefix: '/a/', service: '127.0.0.1:81' } })).toBe(3);
  expect(await statementsOf('DELETE', '/ambassador/mapping/a')).toBe(2);
  expect(await statementsOf('DELETE', `${mappings}/first`)).toBe(2);
});
