import { join } from 'node:path';

import { beforeAll, describe, expect, jest, test } from '@jest/globals';

import { defaultSettings, settingsToJson } from '#features/gateway/gateway.js';
import { aMapping } from '#features/mapping/mapping.fixture.js';
import { toJson } from '#features/mapping/mapping-state.js';
import type { JsonObject } from '#platform/kernel/json.js';

import type * as built from './read-render-difference.js';
import { type GatewayStates, renderDifference } from './render-difference.js';

jest.setTimeout(60_000);

/** A thread is started from the build alone, so the handler is taken from there. */
const file = join(import.meta.dirname, '../../../dist/libs/features/rollout/read-render-difference.js');

function gateway(count: number, more: Parameters<typeof aMapping>[1] = {}): GatewayStates {
  const mapping = (i: number) => toJson(aMapping(`m${i}`, { prefix: `/m${i}/`, ...(i === 0 ? more : {}) }));
  return {
    version: 1,
    subjects: [
      ['gateway', settingsToJson(defaultSettings)],
      ...Array.from({ length: count }, (_, i): [string, JsonObject] => [`mapping/m${i}`, mapping(i)]),
    ],
  };
}

describe('a comparison in the thread of the built api', () => {
  let module: typeof built;
  let handler: built.ReadRenderDifferenceHandler;
  beforeAll(async () => {
    module = await import(file);
    handler = new module.ReadRenderDifferenceHandler();
  });
  const compare = (before: GatewayStates | null, after: GatewayStates | null) =>
    handler.execute(new module.ReadRenderDifference('default', before, after));

  test('answers what a comparison in place answers, while this process goes on', async () => {
    const [before, after] = [gateway(5000), gateway(5000, { timeoutMs: 7000 })];
    let turns = 0;
    const timer = setInterval(() => {
      turns += 1;
    }, 1);
    const answer = await compare(before, after);
    clearInterval(timer);
    expect(answer).toEqual(renderDifference('default', before, after));
    expect(answer.changes).toMatchObject([{ resource: 'route', name: '_2a/m0', op: 'changed' }]);
    // In place it would be two: one before, one after.
    expect(turns).toBeGreaterThan(10);
  });

  test('two at once, and a third is told to come again; afterwards there is room', async () => {
    const small = gateway(10);
    const answers = await Promise.allSettled([compare(null, small), compare(null, small), compare(null, small)]);
    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected']);
    expect(answers[2]).toMatchObject({ reason: { kind: 'unavailable', code: 'render_busy' } });
    expect((await compare(small, null)).changes.every(({ op }) => op === 'removed')).toBe(true);
  });

  test('what is too large is refused before it costs anything', async () => {
    await expect(compare(gateway(20_001), null)).rejects.toMatchObject({
      kind: 'invalid',
      code: 'render_too_large',
      errors: [{ pointer: '/rendered', code: 'render_too_large' }],
    });
  });

  test('what takes too long is ended, and said to be too large', async () => {
    const patience = handler.deadlineMs;
    handler.deadlineMs = 1; // in which no thread has even started
    await expect(compare(gateway(1), gateway(2))).rejects.toMatchObject({ kind: 'invalid', code: 'render_too_large' });
    handler.deadlineMs = patience;
    expect((await compare(gateway(1), gateway(2))).changes.length).toBeGreaterThan(0);
  });
});
