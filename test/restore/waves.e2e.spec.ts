import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

import { afterEach, expect, jest, test } from '@jest/globals';

import type { RolloutView } from '#features/promotion/read-rollout.js';
import { openDatabase } from '#platform/database/database.js';
import { EventStore } from '#platform/eventstore/event-store.js';
import type { JsonObject } from '#platform/kernel/json.js';

import { lostCount } from '../load/load-client.js';
import type { DevHarness, HttpAnswer } from '../support/dev-harness.js';

import { ThreeTargets } from './three-targets.js';

jest.setTimeout(240_000);

const g = '/v1/gateways/default';
const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function change(dev: DevHarness, method: string, path: string, body?: unknown): Promise<HttpAnswer> {
  const answer = await dev.api(`${g}/${path}`, { method, ...(body === undefined ? {} : { body }) });
  if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
  return answer;
}

/** Asks until the rollout stands so. */
async function rollout(dev: DevHarness, fits: (seen: RolloutView) => boolean): Promise<RolloutView> {
  const answer = await dev.until(
    () => dev.api(`${g}/rollout`),
    ({ status, json }) => status === 200 && fits(json as RolloutView),
    90_000,
  );
  return answer.json as RolloutView;
}

const proven = ({ targets }: RolloutView) => Object.fromEntries(targets.map(({ name, provenVersion }) => [name, provenVersion]));
const allAt = (version: number) => (seen: RolloutView) => seen.targets.every(({ provenVersion }) => provenVersion === version);

/** Appends past every check of the commands, as an older version or a defect might. */
async function plant(dev: DevHarness, name: string, state: JsonObject): Promise<number> {
  const database = openDatabase({ url: dev.ready.database, applicationName: 'test', maxConnections: 2 });
  const events = new EventStore({ database });
  try {
    const context = { commandId: randomUUID(), action: 'PlantMapping', actor: 'test' };
    const subject = `mapping/${name}`;
    const outcome = await events.handle({ stream: 'gateway/default', subjects: [subject], context }, () => [
      { type: 'MappingCreated', schemaVersion: 1, subject, state },
    ]);
    return outcome.version;
  } finally {
    await events.close();
    await database.close();
  }
}

test('what the canary refuses, or answers with errors, is halted and taken back; the others never serve it, and nothing of theirs is lost', async () => {
  const house = await ThreeTargets.start();
  cleanups.push(() => house.dispose());
  const { dev, service } = house;
  const broken = createServer((_request, response) => response.writeHead(500).end('broken'));
  await new Promise<void>((resolve) => broken.listen(0, '127.0.0.1', resolve));
  cleanups.push(async () => {
    broken.closeAllConnections();
    await new Promise((resolve) => broken.close(resolve));
  });
  await change(dev, 'PATCH', 'settings', { delivery: 'live' });
  await change(dev, 'PUT', 'mappings/stable', { prefix: '/stable/', service });
  await change(dev, 'PUT', 'mappings/shop', { prefix: '/shop/', service });
  const policy = { strategy: 'waves', canary: 'edge-2', sharePercent: 50, soakS: 1 };
  const first = Number((await change(dev, 'PATCH', 'settings', { rollout: policy })).headers['chancery-version']);
  await rollout(dev, (seen) => seen.state === 'settled' && allAt(first)(seen)); // the version that says so goes by itself

  const loads = house.edges.map(({ name }) => house.load(name, '/stable/x', '/x'));
  const shape = { host: '*', path: null, rewrite: '/', methods: [], precedence: 0, timeoutMs: 3_000, labels: {} };
  const bad = await plant(dev, 'evil', { ...shape, name: 'evil', prefix: '/evil/', service, headers: { 'x-a\nb': '1' } });
  const halted = await rollout(dev, (seen) => seen.state === 'halted' && allAt(first)(seen));
  expect(halted.wave).toMatchObject({ version: bad, from: first, phase: 'canary', targets: ['edge-2'] });
  expect(['refused', 'set_aside']).toContain(halted.wave?.cause?.code);
  const propagation = await dev.api(`${g}/versions/${bad}/propagation`);
  expect(propagation.json).toMatchObject({ state: 'refused', targets: [{ name: 'dev' }, { name: 'edge-2' }, { name: 'edge-3' }] });

  const good = Number((await change(dev, 'DELETE', 'mappings/evil')).headers['chancery-version']);
  await rollout(dev, (seen) => seen.state === 'settled' && allAt(good)(seen));

  await change(dev, 'PATCH', 'settings', { rollout: { soakS: 3_600 } });
  await rollout(dev, ({ wave, headVersion }) => wave?.version === headVersion && wave.phaseSince !== null);
  await change(dev, 'POST', 'rollout/promote', { reason: 'settings alone' });
  const wrong = Number(
    (await change(dev, 'PATCH', 'mappings/shop', { service: `127.0.0.1:${(broken.address() as AddressInfo).port}` })).headers[
      'chancery-version'
    ],
  );
  await dev.until(
    () => house.through('edge-2', '/shop/x'),
    ({ status }) => status === 500,
    60_000,
  );
  expect((await house.through('edge-3', '/shop/x')).status).toBe(200);
  const risen = await dev.until(
    async () => {
      for (let i = 0; i < 20; i++) await house.through('edge-2', '/shop/x');
      return dev.api(`${g}/rollout`);
    },
    ({ json }) => (json as RolloutView).state === 'halted',
    90_000,
  );
  expect((risen.json as RolloutView).wave).toMatchObject({ version: wrong, cause: { code: 'errors_rise' } });
  await dev.until(
    () => house.through('edge-2', '/shop/x'),
    ({ status }) => status === 200,
    60_000,
  );
  const after = await rollout(dev, ({ targets }) => targets.every(({ provenVersion, desiredVersion }) => provenVersion === desiredVersion));
  expect(Object.values(proven(after))).not.toContain(wrong);

  for (const [i, load] of loads.entries()) {
    const result = await load.stop();
    expect({ edge: house.edges[i]?.name, lost: lostCount(result), first: result.lost.slice(0, 3) }).toMatchObject({ lost: 0 });
    expect(result.sent).toBeGreaterThan(100);
  }
});
