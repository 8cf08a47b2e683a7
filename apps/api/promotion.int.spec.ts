import { randomUUID } from 'node:crypto';

import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

import { holdPush } from '#features/promotion/hold.js';
import { noTraffic, takeStep } from '#features/promotion/wave.js';
import { sqlQuery } from '#platform/database/database.js';
import type { NewEvent, View } from '#platform/eventstore/event-store.js';
import { readSubject, verifyStream } from '#platform/eventstore/read-log.js';
import type { Json } from '#platform/kernel/json.js';

import { startTestApi, type TestApi } from './test-api.js';

const g = '/v1/gateways/default';
const r = `${g}/rollout`;

describe('rollouts over HTTP', () => {
  let test: TestApi;
  beforeAll(async () => {
    test = await startTestApi();
    await sqlQuery(
      test.api.database.db,
      `INSERT INTO chancery.target (name, gateway, proven_version) VALUES ('edge-1', 'default', 1), ('edge-2', 'default', 1)`,
      [],
    );
  });
  afterAll(() => test.close());

  const post = async (path: string, body: Json = { reason: 'because' }, more: object = {}) => {
    const { status, headers, json } = await test.ask('POST', `${r}/${path}`, { body, ...more });
    return { status, headers, json };
  };
  const rollout = async () => (await test.ask('GET', r)).json;
  const settings = (policy: Json) => test.ask('PATCH', `${g}/settings`, { body: { rollout: policy } });
  const putMapping = (name: string) => test.ask('PUT', `${g}/mappings/${name}`, { body: { prefix: `/${name}/`, service: 'usersvc' } });
  /** What a worker records. */
  const record = (subjects: string[], decide: (view: View) => NewEvent[]) =>
    test.api.events.handle(
      { stream: 'rollout/default', subjects, context: { commandId: randomUUID(), action: 'Test', actor: 'system' } },
      decide,
    );
  const refused = { status: 409 };

  it('is immediate until the settings say otherwise, and has nothing to promote, halt, resume, unpin or confirm', async () => {
    expect(await rollout()).toMatchObject({
      state: 'immediate',
      policy: { strategy: 'immediate', soakS: 60, shrinkPercent: 30 },
      headVersion: 1,
      releasedVersion: 1,
      wave: null,
      freeze: null,
      hold: null,
      pins: [],
      targets: [{ name: 'edge-1', desiredVersion: 1, because: 'immediate' }, { name: 'edge-2' }],
    });
    expect((await post('promote')).json).toMatchObject({ ...refused, code: 'rollout_immediate' });
    expect((await post('halt')).json).toMatchObject({ ...refused, code: 'rollout_not_under_way' });
    expect((await post('resume')).json).toMatchObject({ ...refused, code: 'rollout_not_halted' });
    expect((await post('unfreeze')).json).toMatchObject({ ...refused, code: 'gateway_not_frozen' });
    expect((await post('hold/confirm')).json).toMatchObject({ ...refused, code: 'nothing_held' });
    expect((await test.ask('DELETE', `${r}/pins/edge-1`)).json).toMatchObject({ status: 404, code: 'pin_not_found' });
  });

  it('refuses settings that cannot be, each at its place', async () => {
    expect((await settings({ soakS: -1 })).json).toMatchObject({ status: 422, errors: [{ pointer: '/rollout/soakS' }] });
    expect((await settings({ strategy: 'blue' })).json).toMatchObject({ status: 400, errors: [{ pointer: '/rollout/strategy' }] });
    expect((await settings({ canary: 'ä' })).json).toMatchObject({ status: 422, code: 'rollout_canary_invalid' });
    const document = await test.ask('PUT', `${g}/config`, {
      body: { settings: { rollout: { sharePercent: 0 } } },
      headers: { 'if-match': '*' },
    });
    expect(document.json).toMatchObject({ status: 422, errors: [{ pointer: '/settings/rollout/sharePercent' }] });
  });

  it('freezes at what is released, once, with a reason; a frozen gateway goes on being written', async () => {
    expect((await post('freeze', {})).json).toMatchObject({ status: 400, errors: [{ pointer: '/reason' }] });
    expect((await post('freeze', { reason: ' ' })).json).toMatchObject({ status: 422, code: 'reason_required' });
    const dry = await post('freeze?dryRun=true', { reason: 'sale' });
    expect(dry.json).toMatchObject({
      dryRun: true,
      changes: [{ subject: 'freeze', event: 'GatewayFrozen', after: { version: 1, reason: 'sale' } }],
    });
    const key = { headers: { 'idempotency-key': 'freeze-0001' } };
    const first = await post('freeze', { reason: 'sale' }, key);
    expect(first.json).toMatchObject({ state: 'frozen', freeze: { version: 1, reason: 'sale', by: expect.stringMatching(/^token\//) } });
    const again = await post('freeze', { reason: 'sale' }, key);
    expect([again.status, again.headers['idempotency-replayed']]).toEqual([200, 'true']);
    expect((await putMapping('user')).status).toBe(201); // 2
    expect((await post('freeze', { reason: 'again' })).json).toMatchObject({ freeze: { version: 1, reason: 'sale' } });
    expect(await rollout()).toMatchObject({ headVersion: 2, releasedVersion: 1, targets: [{ desiredVersion: 1, because: 'frozen' }, {}] });
    expect((await post('promote')).json).toMatchObject({ ...refused, code: 'gateway_frozen' });
    expect((await post('unfreeze')).json).toMatchObject({ state: 'immediate', freeze: null, releasedVersion: 2 });
  });

  it('pins a target that there is to a version that there is', async () => {
    expect((await post('pins', { target: 'nobody', version: 1, reason: 'x' })).json).toMatchObject({
      status: 422,
      errors: [{ pointer: '/target', code: 'target_not_found' }],
    });
    expect((await post('pins', { target: '../x', version: 1, reason: 'x' })).json).toMatchObject({ status: 422, code: 'target_not_found' });
    for (const version of [0, 3]) {
      expect((await post('pins', { target: 'edge-1', version, reason: 'x' })).json).toMatchObject({
        status: 422,
        code: 'version_not_found',
      });
    }
    expect((await post('pins', { target: 'edge-1', version: 1, reason: 'old kernel' })).json).toMatchObject({
      pins: [{ target: 'edge-1', version: 1, reason: 'old kernel' }],
      targets: [{ desiredVersion: 1, because: 'pinned' }, { desiredVersion: 2 }],
    });
    const gone = await test.ask('DELETE', `${r}/pins/edge-1?reason=new%20kernel`);
    expect(gone.json).toMatchObject({ pins: [] });
  });

  it('holds new versions back for waves and promotions, from the version that says so on', async () => {
    expect((await settings({ strategy: 'manual' })).status).toBe(200); // 3: goes by its own settings
    expect(await rollout()).toMatchObject({ state: 'waiting', headVersion: 3, releasedVersion: 2 });
    expect((await post('promote', { version: 9, reason: 'x' })).json).toMatchObject({ status: 422, code: 'version_not_found' });
    expect((await post('promote', { version: 1, reason: 'x' })).json).toMatchObject({ status: 422, code: 'version_not_newer' });
    expect((await post('promote', { reason: 'seen it work' })).json).toMatchObject({
      state: 'settled',
      releasedVersion: 3,
      wave: { state: 'finished', version: 3, from: 2, reason: 'seen it work' },
    });
    await settings({ strategy: 'waves', canary: 'edge-*' }); // 4
    await putMapping('order'); // 5
    expect(await rollout()).toMatchObject({ state: 'waiting', headVersion: 5, releasedVersion: 3 });
  });

  it('a wave is halted and resumed by hand', async () => {
    const { version } = await readSubject(test.api.database.db, 'rollout/default', 'wave');
    await record(
      ['wave', 'freeze'],
      takeStep({ kind: 'start', version: 5, from: 3, targets: ['edge-2'], head: 5, baseline: noTraffic }, version),
    );
    expect(await rollout()).toMatchObject({
      state: 'in_wave',
      targets: [
        { name: 'edge-1', desiredVersion: 3, because: 'released' },
        { name: 'edge-2', desiredVersion: 5, because: 'wave' },
      ],
    });
    expect((await post('halt', { reason: 'slow' })).json).toMatchObject({
      state: 'halted',
      wave: { cause: { code: 'by_hand', message: 'slow' } },
    });
    expect((await post('resume')).json).toMatchObject({
      state: 'waiting',
      wave: { state: 'resumed' },
      targets: [{}, { desiredVersion: 3 }],
    });
  });

  it('a held push is confirmed as it was looked at', async () => {
    await record(
      ['hold'],
      holdPush(5, { id: 'abc', limitPercent: 30, losses: [{ kind: 'routes', before: 20, lost: 9, names: ['user'] }] }),
    );
    expect(await rollout()).toMatchObject({ state: 'held', hold: { id: 'abc', state: 'held', losses: [{ kind: 'routes', lost: 9 }] } });
    expect((await post('hold/confirm', { hold: 'abd', reason: 'x' })).json).toMatchObject({
      ...refused,
      code: 'hold_changed',
      hold: 'abc',
    });
    expect((await post('hold/confirm', { hold: 'abc', reason: 'meant' })).json).toMatchObject({
      hold: { state: 'confirmed', reason: 'meant' },
    });
  });

  it('needs the scope deploy to turn anything, and a gateway', async () => {
    const { token } = await test.makeToken(['read', 'write', 'admin']);
    for (const path of ['freeze', 'unfreeze', 'promote', 'halt', 'resume', 'pins', 'hold/confirm'])
      expect((await post(path, { reason: 'x' }, { token })).json).toMatchObject({ status: 403, code: 'scope_missing' });
    expect((await test.ask('GET', r, { token })).status).toBe(200);
    for (const path of ['rollout', 'rollout/freeze'])
      expect(
        (
          await test.ask(
            path === 'rollout' ? 'GET' : 'POST',
            `/v1/gateways/none/${path}`,
            path === 'rollout' ? {} : { body: { reason: 'x' } },
          )
        ).json,
      ).toMatchObject({
        status: 404,
        code: 'gateway_not_found',
      });
  });

  it('is in the log, and not in the configuration: no rollback restores it', async () => {
    await post('pins', { target: 'edge-1', version: 2, reason: 'stays' });
    const back = await test.ask('POST', `${g}/rollbacks`, { body: { toVersion: 2, reason: 'x' }, headers: { 'if-match': '*' } });
    expect(back.status).toBe(201);
    expect(await rollout()).toMatchObject({ pins: [{ target: 'edge-1' }], policy: { strategy: 'immediate' } });
    const config = await test.ask('GET', `${g}/config`);
    expect(JSON.stringify(config.json)).not.toContain('edge-1');
    expect(await verifyStream(test.api.database.db, 'rollout/default')).toMatchObject({ ok: true });
  });
});
