import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

import { makeCertificate } from '#features/certificate/certificate.fixture.js';
import { withNewKey, writeKeyFile } from '#platform/vault/key-file.js';

import { startTestApi, type TestAnswer, type TestApi } from './test-api.js';
import { openWire, type Wire } from './test-wire.js';

const mappings = '/v1/gateways/default/mappings';

describe('a database that goes away', () => {
  const folder = mkdtempSync(join(tmpdir(), 'chancery-outage-'));
  let test: TestApi;
  let wire: Wire;
  beforeAll(async () => {
    const keyFile = join(folder, 'keys.json');
    writeKeyFile(keyFile, withNewKey(undefined, 'first'));
    test = await startTestApi({ CHANCERY_KEK_FILE: keyFile }, {}, async (url) => {
      const opened = await openWire(url);
      wire = opened.wire;
      return opened.url;
    });
  });
  afterAll(async () => {
    await test.close();
    await wire.cut();
    rmSync(folder, { recursive: true });
  });

  const ends = 'chancery_certificate_expiry_timestamp_seconds{gateway="default",certificate="edge"}';
  const create = (name: string) => test.ask('POST', mappings, { body: { name, prefix: `/${name}/`, service: 'a' } });
  const until = async (ask: () => Promise<TestAnswer>, status: number) => {
    const deadline = Date.now() + 15_000;
    let answer = await ask();
    while (answer.status !== status && Date.now() < deadline) answer = await ask();
    return answer.status;
  };

  it('is ready before', async () => {
    const ready = await test.ask('GET', '/readyz?verbose');
    expect(ready.json).toMatchObject({ status: 'ok', checks: expect.arrayContaining([{ name: 'migrations', ok: true, detail: '' }]) });
    expect((await create('before')).status).toBe(201);
    const made = await makeCertificate();
    const body = { certificateChain: made.pem, privateKey: made.key };
    expect((await test.ask('PUT', '/v1/gateways/default/certificates/edge', { body })).status).toBe(201);
    expect((await test.ask('GET', '/metrics')).text).toContain(ends);
  });

  it('leaves in the metrics when certificates end, and since when that was not read', async () => {
    const readAt = (text: string) => Number(/^chancery_certificate_expiry_read_timestamp_seconds (\S+)$/m.exec(text)?.[1]);
    const before = (await test.ask('GET', '/metrics')).text;
    await wire.cut();
    const [after, again] = [(await test.ask('GET', '/metrics')).text, (await test.ask('GET', '/metrics')).text];
    for (const text of [before, after, again]) expect(text).toContain(ends);
    expect([readAt(before) > 0, readAt(after), readAt(again)]).toEqual([true, readAt(before), readAt(before)]);
    expect(test.logged().split('the ends of certificates could not be read').length - 1).toBe(1);
    await wire.open();
    expect(await until(() => test.ask('GET', mappings), 200)).toBe(200);
  });

  it('is a 503 at once when it is down, and the api recovers by itself', async () => {
    await wire.cut();
    const start = performance.now();
    const answers = await Promise.all([test.ask('GET', mappings), create('down'), test.ask('GET', '/readyz'), test.ask('GET', '/healthz')]);
    expect(performance.now() - start).toBeLessThan(8_000);
    expect(answers.map((answer) => answer.status)).toEqual([503, 503, 503, 200]);
    expect(answers.slice(0, 2).map((answer) => answer.json.code)).toEqual(['database_unavailable', 'database_unavailable']);
    expect(Number(answers[0]?.headers['retry-after'])).toBeGreaterThan(0);
    expect((await test.ask('GET', '/readyz')).json.checks).toContainEqual({
      name: 'database',
      ok: false,
      detail: 'The database does not answer.',
    });
    expect((await test.ask('POST', '/ambassador/mapping/x', { body: { prefix: '/x/', service: 'a' } })).json).toMatchObject({
      ok: false,
      code: 'database_unavailable',
    });
    await wire.open();
    expect(await until(() => create('back'), 201)).toBe(201);
    expect(await until(() => test.ask('GET', '/readyz'), 200)).toBe(200);
    expect((await test.ask('GET', `${mappings}/down`)).status).toBe(404);
  }, 40_000);

  it('is a 503 within the deadline when it says nothing more', async () => {
    wire.mute(true);
    const start = performance.now();
    const answers = await Promise.all([test.ask('GET', mappings), create('mute'), test.ask('GET', '/readyz')]);
    expect(performance.now() - start).toBeLessThan(15_000);
    expect(answers.map((answer) => answer.status)).toEqual([503, 503, 503]);
    expect(['database_unavailable', 'outcome_unknown']).toContain(answers[1]?.json.code);
    await wire.cut();
    wire.mute(false);
    await wire.open();
    expect(await until(() => create('spoken'), 201)).toBe(201);
  }, 40_000);

  describe.each([
    ['on the way to the database', 'request', false],
    ['on the way back, when it is committed', 'answer', true],
  ] as const)('a change that is lost %s', (_, what, recorded) => {
    const name = `lost-${what}`;
    const write = (path: string, body: Record<string, string>) =>
      test.ask('POST', path, { body, headers: { 'idempotency-key': `${what}-${body.prefix?.slice(1, -1)}` } });

    it.each([
      ['/v1', mappings, { name, prefix: `/${name}/`, service: 'a' }, 201],
      ['the original', `/ambassador/mapping/${name}-amb`, { prefix: `/${name}-amb/`, service: 'a' }, 200],
    ] as const)(
      'is 503 outcome_unknown with its command, and a retry with the key tells the truth: %s',
      async (_api, path, body, ok) => {
        const before = await test.countEvents();
        const lost = wire.cutAt(what);
        const answer = await write(path, body);
        expect(answer.json).toMatchObject({ code: 'outcome_unknown', commandId: expect.stringMatching(/^[0-9a-f-]{36}$/) });
        expect([answer.status, answer.headers['retry-after']]).toEqual([503, '1']);
        await lost;
        await wire.open();
        let retried = await write(path, body);
        const deadline = Date.now() + 15_000;
        while (retried.status === 503 && Date.now() < deadline) retried = await write(path, body);
        expect([retried.status, retried.headers['idempotency-replayed']]).toEqual([ok, recorded ? 'true' : undefined]);
        expect((await test.countEvents()) - before).toBe(1);
        const { json } = await test.ask('GET', '/v1/gateways/default/versions?limit=1');
        expect(json.items[0].commandId === answer.json.commandId).toBe(recorded);
      },
      40_000,
    );
  });
});
