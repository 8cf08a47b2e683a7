import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

import { startTestApi, type TestApi } from './test-api.js';

const mappings = '/v1/gateways/default/mappings';

describe('mappings over HTTP', () => {
  let test: TestApi;
  beforeAll(async () => {
    test = await startTestApi();
  });
  afterAll(() => test.close());

  it('creates a mapping and says where it is, at which version, and what is doubtful', async () => {
    const answer = await test.ask('POST', mappings, { body: { name: 'user', prefix: '/user/', service: 'usersvc' } });
    expect(answer.status).toBe(201);
    expect(answer.headers).toMatchObject({ etag: '"1"', location: `${mappings}/user`, 'chancery-version': '2' });
    expect(answer.json).toMatchObject({ name: 'user', prefix: '/user/', rewrite: '/', host: '*', version: 1, gatewayVersion: 2 });
    expect(answer.json.warnings).toMatchObject([{ code: 'unresolved_service', pointer: '/service' }]);
    const read = await test.ask('GET', `${mappings}/user`);
    expect(read.status).toBe(200);
    expect(read.json).toMatchObject({ name: 'user', version: 1, status: { state: 'pending' } });
  });
});
