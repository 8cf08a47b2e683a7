import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

import { makeChain } from '#features/certificate/certificate.fixture.js';
import { withNewKey, writeKeyFile } from '#platform/vault/key-file.js';

import { startTestApi, type TestApi } from './test-api.js';

const g = '/v1/gateways/default';
const folder = mkdtempSync(join(tmpdir(), 'chancery-keys-'));
const keyFile = join(folder, 'keys.json');

let test: TestApi;
beforeAll(async () => {
  writeKeyFile(keyFile, withNewKey(undefined, 'first'));
  test = await startTestApi({ CHANCERY_KEK_FILE: keyFile });
});
afterAll(async () => {
  await test.close();
  rmSync(folder, { recursive: true });
});

describe('certificates', () => {
  it('are set, read, exchanged and deleted, and show no key', async () => {
    const { between, leaf } = await makeChain({ dns: ['edge.example.com'] });
    const body = { certificateChain: leaf.pem + between.pem, privateKey: leaf.key };
    const put = await test.ask('PUT', `${g}/certificates/edge`, { body });
    expect([put.status, put.json]).toMatchObject([
      201,
      { name: 'edge', unchanged: false, sans: { dns: ['edge.example.com'], ip: [] }, chainLength: 2, state: 'valid' },
    ]);
    const again = await test.ask('PUT', `${g}/certificates/edge`, { body });
    expect([again.status, again.json]).toMatchObject([200, { unchanged: true, version: 1 }]);
    const read = await test.ask('GET', `${g}/certificates/edge`);
    expect([read.status, read.json]).toMatchObject([200, { name: 'edge', certificateChain: leaf.pem + between.pem }]);
    expect((await test.ask('GET', `${g}/certificates`)).json.items).toHaveLength(1);
    expect((await test.ask('DELETE', `${g}/certificates/edge`)).status).toBe(200);
    expect((await test.ask('GET', `${g}/certificates/edge`)).status).toBe(404);
  });
});
