import { randomUUID } from 'node:crypto';

import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';

import { defaultRollout } from '#features/gateway/rollout-policy.js';
import type { WaveState } from '#features/promotion/promotion.js';
import { freezeGateway, pinTarget, unfreezeGateway, unpinTarget } from '#features/promotion/switches.js';
import { haltWave, promoteVersion, resumeWaves } from '#features/promotion/wave.js';
import type { TargetView } from '#features/rollout/target.table.js';
import { listTargets } from '#features/rollout/target.table.js';
import type { NewEvent, View } from '#platform/eventstore/event-store.js';
import { readSubject, verifyStream } from '#platform/eventstore/read-log.js';
import { SCOPED_ROUTE_TYPE } from '#platform/xds/xds-resource.js';

import type { ScriptedAgent, ScriptedAgentOptions } from '../scripted-agent.fixture.js';
import { eventually, WorkerFixture } from '../worker.fixture.js';
import type { RunningWorker } from '../worker.js';

jest.setTimeout(60_000);

let fixture: WorkerFixture;
let delivery = 'live';
afterEach(() => fixture.close());

const orderer = { by: 'token/spec', reason: 'because' };
const policy = { ...defaultRollout, strategy: 'waves', canary: 'edge-2', sharePercent: 60, soakS: 0, proofDeadlineS: 30 } as const;

/** A gateway whose versions go out in waves, and three agents on one worker, all at version 1. */
async function house(
  more: object = {},
  options: Partial<ScriptedAgentOptions> = {},
): Promise<{ worker: RunningWorker; agents: ScriptedAgent[] }> {
  fixture = await WorkerFixture.open({ delivery, rollout: { ...policy, ...more } });
  const worker = await fixture.startWorker('w1');
  const agents = ['edge-1', 'edge-2', 'edge-3'].map((target) => fixture.agent({ target, ...options }));
  for (const agent of agents) await agent.connect(worker.port);
  await eventually('all are at version 1', async () => (await proven()).every((version) => version === 1) && (await proven()).length === 3);
  return { worker, agents };
}

const targets = (): Promise<TargetView[]> => listTargets(fixture.database.db, 'default');
const proven = async () => (await targets()).map(({ provenVersion }) => provenVersion);
const wave = async () => (await readSubject(fixture.database.db, 'rollout/default', 'wave')).state as WaveState | null;
const isWave = (state: WaveState['state'], version: number) => async () => {
  const now = await wave();
  return now?.state === state && now.version === version;
};
const all = (version: number) => async () => (await proven()).every((one) => one === version);
const releasesOf = (agent: ScriptedAgent | undefined) => [...(agent?.releases ?? []), ...(agent?.live.releases ?? [])];
const versionsOf = (agent: ScriptedAgent | undefined) => [...new Set(releasesOf(agent).map(({ version }) => version))];
/** An Envoy that does not take the mapping `evil` to `evilsvc`. */
const refusesEvil: Partial<ScriptedAgentOptions> = {
  refuses: (text) => (/"(prefix|prefix_rewrite)":"\/evil/.test(text) && text.includes('evilsvc') ? 'bad route' : undefined),
  refusesLive: ({ changed }) => {
    const evil = (text: string) => text.includes('/evil/') && text.includes('evilsvc');
    const resources = changed.filter(({ typeUrl, value }) => typeUrl === SCOPED_ROUTE_TYPE && evil(value.toString('latin1')));
    return resources.length === 0
      ? undefined
      : { resources: resources.map(({ typeUrl, name }) => ({ typeUrl, name })), detail: 'bad route' };
  },
};
const order = (subjects: string[], decide: (view: View) => NewEvent[]) =>
  fixture.events.handle(
    { stream: 'rollout/default', subjects, context: { commandId: randomUUID(), action: 'Order', actor: 'token/spec', reason: 'because' } },
    decide,
  );
const types = async () =>
  (
    await fixture.query<{ type: string }>(`select type from chancery.event where stream = 'rollout/default' order by version, position`)
  ).map(({ type }) => type);

describe.each(['live', 'hot-restart'])('waves, delivered by %s', (by) => {
  beforeEach(() => {
    delivery = by;
  });

  test('a version comes to the canary, to a share, to all; each once, and what comes meanwhile goes in the next waves', async () => {
    const { agents } = await house();
    const second = await fixture.putMapping('user');
    const third = await fixture.putMapping('order');
    await eventually('the last version is everywhere', all(third));
    await eventually('its wave is finished', isWave('finished', third));
    const seen = await types();
    expect(seen.slice(0, 7)).toEqual([
      'WaveStarted',
      'WaveProven',
      'WaveAdvanced',
      'WaveProven',
      'WaveAdvanced',
      'WaveProven',
      'WaveFinished',
    ]);
    expect(seen.filter((type) => type === 'WaveStarted').length).toBeLessThanOrEqual(2);
    const versions = [1, second, third];
    for (const agent of agents) expect(versionsOf(agent)).toEqual(versions.filter((version) => versionsOf(agent).includes(version)));
    expect(await verifyStream(fixture.database.db, 'rollout/default')).toMatchObject({ ok: true });
    const [row] = await fixture.query<{ version: number }>(`select version from chancery.desired where gateway = 'default'`);
    expect(row?.version).toBe(third);
  });

  test('a version that the canary refuses is halted and taken back; the others never see it, and the next one begins anew', async () => {
    const { agents } = await house({}, refusesEvil);
    const bad = await fixture.putMapping('evil', { service: 'evilsvc' });
    await eventually('it is halted', isWave('halted', bad));
    await eventually('the canary runs what it ran before', async () => {
      const canary = (await targets())[1];
      return canary?.provenVersion === 1 && canary.appliedVersion === 1 && canary.desiredVersion === 1;
    });
    expect(['refused', 'set_aside']).toContain((await wave())?.cause?.code);
    expect([versionsOf(agents[0]), versionsOf(agents[2])]).toEqual([[1], [1]]);
    const good = await fixture.putMapping('evil', { service: 'usersvc', prefix: '/good/' });
    await eventually('the next version is everywhere', all(good));
    expect(versionsOf(agents[0])).toEqual([1, good]);
  });

  test('a proof that does not come halts it', async () => {
    const { agents } = await house({ proofDeadlineS: 1 });
    const canary = agents[1];
    if (canary === undefined) throw new Error('no canary');
    canary.frozen = true;
    const version = await fixture.putMapping('user');
    await eventually('it is halted', isWave('halted', version));
    expect((await wave())?.cause).toMatchObject({ code: 'proof_missing', target: 'edge-2' });
  });

  test('halted by hand its targets go back, by a record that is named; resumed, the newest begins anew', async () => {
    const { agents } = await house({ soakS: 2 });
    const version = await fixture.putMapping('user');
    await eventually('the canary has it', async () => (await proven())[1] === version);
    await order(['wave', 'freeze'], haltWave(await wave(), version, orderer));
    await eventually('the canary is back', all(1));
    expect(releasesOf(agents[1]).at(-1)).toMatchObject({
      version: 1,
      lowerVersionReason: expect.stringMatching(/^rollout\/default version \d+: the wave of version 2 was halted, back to 1: because$/),
    });
    await order(['wave'], resumeWaves(orderer));
    await eventually('it is everywhere', all(version), 30_000);
  });

  test('errors that rise on the canary halt it', async () => {
    const { agents } = await house({ soakS: 3_600 });
    const canary = agents[1];
    const stats = (requests: number, errors: number) =>
      canary?.sendEnvoyStats({ 'http.ingress_http.downstream_rq_total': requests, 'http.ingress_http.downstream_rq_5xx': errors });
    stats(1_000, 1);
    await eventually(
      'its figures are known',
      async () =>
        (await fixture.query(`select 1 from chancery.target_stats where target = 'edge-2' and jsonb_array_length(traffic) > 0`)).length ===
        1,
    );
    const version = await fixture.putMapping('user');
    await eventually('the canary has it', async () => (await proven())[1] === version);
    stats(1_100, 51);
    await eventually('it is halted', isWave('halted', version));
    expect((await wave())?.cause).toMatchObject({ code: 'errors_rise', message: expect.stringContaining('50.0 % of 100 requests') });
    await eventually('the canary is back', all(1));
  });

  test('two workers record each step once, and one that starts in the middle goes on', async () => {
    const { worker, agents } = await house({ soakS: 1 });
    const second = await fixture.startWorker('w2');
    const version = await fixture.putMapping('user');
    await eventually('it is under way', isWave('advancing', version));
    await fixture.stopWorker(worker);
    for (const agent of agents) await agent.connect(second.port);
    await eventually('it is everywhere', all(version), 30_000);
    await eventually('the wave is finished', isWave('finished', version));
    const seen = await types();
    expect(seen.filter((type) => type === 'WaveStarted')).toHaveLength(1);
    expect(seen.filter((type) => type === 'WaveProven')).toHaveLength(3);
  });

  test('a target that is away hangs nothing, and comes to what is released when it is back', async () => {
    const { worker, agents } = await house();
    const [, , third] = agents;
    third?.close();
    await eventually('it is gone', async () => (await targets())[2]?.connected === false);
    const version = await fixture.putMapping('user');
    await eventually('the wave is finished', isWave('finished', version));
    expect(await proven()).toEqual([version, version, 1]);
    await third?.connect(worker.port);
    await eventually('it has it too', all(version));
  });
});

describe.each(['live', 'hot-restart'])('by hand, delivered by %s', (by) => {
  beforeEach(() => {
    delivery = by;
  });

  test('a frozen gateway stands still, and goes on', async () => {
    await house({ strategy: 'immediate' });
    await order(['freeze'], freezeGateway(1, orderer));
    await eventually(
      'it is known',
      async () => (await fixture.query(`select 1 from chancery.desired where because = 'frozen'`)).length === 1,
    );
    const version = await fixture.putMapping('user');
    const pinned = await order(['pin/edge-1'], pinTarget({ target: 'edge-1', version, head: version, isTarget: true }, orderer));
    await eventually('only the pinned one moves', async () => (await proven())[0] === version);
    expect(pinned.unchanged).toBe(false);
    expect(await proven()).toEqual([version, 1, 1]);
    await order(['freeze'], unfreezeGateway());
    await eventually('all move', all(version));
  });

  test('a pin takes a target back to an older version, by a record that is named; unpinned it comes to the others again', async () => {
    const { agents } = await house({ strategy: 'immediate' });
    const version = await fixture.putMapping('user');
    await eventually('all have it', all(version));
    await order(['pin/edge-3'], pinTarget({ target: 'edge-3', version: 1, head: version, isTarget: true }, orderer));
    await eventually('it goes back', async () => (await proven())[2] === 1);
    expect(await proven()).toEqual([version, version, 1]);
    expect(releasesOf(agents[2]).at(-1)?.lowerVersionReason).toBe('rollout/default version 1: edge-3 is pinned to version 1: because');
    const next = await fixture.putMapping('order');
    await eventually('the others go on', async () => (await proven())[0] === next && (await proven())[1] === next);
    expect((await proven())[2]).toBe(1);
    await order(['pin/edge-3'], unpinTarget('edge-3'));
    await eventually('all have it', all(next));
  });

  test('with the strategy manual nothing moves before it is promoted', async () => {
    await house({ strategy: 'manual' });
    await fixture.putMapping('user');
    const version = await fixture.putMapping('order');
    const [row] = await fixture.query<{ version: number }>(`select version from chancery.desired where gateway = 'default'`);
    expect(row?.version ?? 1).toBe(1);
    expect(await proven()).toEqual([1, 1, 1]);
    await order(['wave', 'freeze'], promoteVersion({ version: version - 1, released: 1, head: version, isImmediate: false }, orderer));
    await eventually('all have what was promoted', all(version - 1));
  });
});
