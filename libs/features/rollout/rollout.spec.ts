import { describe, expect, test } from '@jest/globals';

import {
  type AgentFacts,
  type Demand,
  finalState,
  holdMs,
  type NewestRender,
  nextStep,
  parseReleaseId,
  readOnlyReason,
  releaseId,
  type TargetFacts,
} from './rollout.js';

const target = (more: Partial<TargetFacts> = {}): TargetFacts => ({
  readOnly: null,
  provenVersion: 3,
  provenRender: 'r3',
  provenEndpoints: 'e3',
  failures: 0,
  failedRender: '',
  failedAtMs: 0,
  ...more,
});
const agent = (more: Partial<AgentFacts> = {}): AgentFacts => ({ state: 'idle', appliedRender: 'r3', pending: false, ...more });
const newest = (more: Partial<NewestRender> = {}): NewestRender => ({ version: 4, renderSha256: 'r4', endpointsSha256: 'e3', ...more });
const nobody: Demand = { redeployment: false, force: false, retry: false };
const now = 1_000_000;

describe('what to do next for a target', () => {
  test.each([
    ['a new render', target(), agent(), newest(), nobody, { kind: 'push', trigger: 'change', force: false }],
    ['the same render', target(), agent(), newest({ renderSha256: 'r3' }), nobody, { kind: 'nothing', because: 'equal' }],
    [
      'other endpoints',
      target(),
      agent(),
      newest({ renderSha256: 'r3', endpointsSha256: 'e4' }),
      nobody,
      { kind: 'push', trigger: 'endpoints', force: false },
    ],
    [
      'proven, but Envoy runs another',
      target(),
      agent({ appliedRender: 'old' }),
      newest({ version: 3, renderSha256: 'r3' }),
      nobody,
      { kind: 'push', trigger: 'drift', force: false },
    ],
    [
      'read-only',
      target({ readOnly: 'ahead' }),
      agent(),
      newest(),
      { ...nobody, force: true, redeployment: true },
      { kind: 'nothing', because: 'read_only' },
    ],
    ['a busy agent', target(), agent({ state: 'busy' }), newest(), nobody, { kind: 'wait' }],
    [
      'an agent without an Envoy yet',
      target(),
      agent({ state: 'starting', appliedRender: '' }),
      newest(),
      nobody,
      { kind: 'push', trigger: 'change', force: false },
    ],
    ['an agent that cannot be pushed to yet', target(), agent({ state: 'unsubscribed' }), newest(), nobody, { kind: 'wait' }],
    ['a draining parent', target(), agent({ state: 'draining' }), newest(), nobody, { kind: 'wait' }],
    [
      'a draining parent, and another release that waits for it',
      target(),
      agent({ state: 'draining', pending: true }),
      newest(),
      nobody,
      { kind: 'push', trigger: 'change', force: false },
    ],
    [
      'endpoints while the parent drains',
      target(),
      agent({ state: 'draining' }),
      newest({ renderSha256: 'r3', endpointsSha256: 'e4' }),
      nobody,
      { kind: 'push', trigger: 'endpoints', force: false },
    ],
    [
      'a forced redeployment while the parent drains',
      target(),
      agent({ state: 'draining' }),
      newest(),
      { ...nobody, redeployment: true, force: true },
      { kind: 'push', trigger: 'redeployment', force: true },
    ],
    [
      'a redeployment of what is proven',
      target(),
      agent(),
      newest({ renderSha256: 'r3' }),
      { ...nobody, redeployment: true },
      { kind: 'push', trigger: 'redeployment', force: false },
    ],
    [
      'what failed a moment ago',
      target({ failures: 1, failedRender: 'r4', failedAtMs: now - 100 }),
      agent(),
      newest(),
      nobody,
      { kind: 'hold', untilMs: now + 900 },
    ],
    [
      'what failed, after its time',
      target({ failures: 1, failedRender: 'r4', failedAtMs: now - 2_000 }),
      agent(),
      newest(),
      nobody,
      { kind: 'push', trigger: 'retry', force: false },
    ],
    [
      'what failed, as a retry of the queue',
      target({ failures: 1, failedRender: 'r4', failedAtMs: now }),
      agent(),
      newest(),
      { ...nobody, retry: true },
      { kind: 'push', trigger: 'retry', force: false },
    ],
    [
      'something newer than what failed',
      target({ failures: 9, failedRender: 'r4', failedAtMs: now }),
      agent(),
      newest({ renderSha256: 'r5' }),
      nobody,
      { kind: 'push', trigger: 'change', force: false },
    ],
  ] as const)('%s', (_name, row, says, render, demand, expected) => {
    expect(nextStep(row, says, render, demand, now)).toEqual(expected);
  });

  test('the holding time doubles up to a minute', () => {
    expect([0, 1, 2, 3, 6, 7, 50].map(holdMs)).toEqual([0, 1_000, 2_000, 4_000, 32_000, 60_000, 60_000]);
  });
});

describe('a target that knows more than the database', () => {
  const sent = { lineage: 2, lineageId: 'b', term: 5, sequence: 7 };
  test.each([
    ['nothing was ever accepted', null, 0, null],
    ['exactly what was sent', sent, 9, null],
    ['something older', { ...sent, term: 4, sequence: 99 }, 9, null],
    ['an older lineage, with higher numbers', { lineage: 1, lineageId: 'a', term: 50, sequence: 1 }, 99, null],
    ['a later sequence', { ...sent, sequence: 8 }, 9, 'release 2.5.8'],
    ['a later term', { ...sent, term: 6, sequence: 1 }, 9, 'release 2.6.1'],
    ['a later lineage', { ...sent, lineage: 3 }, 9, 'lineage 3'],
    ['the same lineage number of another database', { ...sent, lineageId: 'c' }, 9, 'another database'],
    ['a version that the log does not have', sent, 11, 'version 11'],
  ])('%s', (_name, accepted, applied, expected) => {
    const reason = readOnlyReason(accepted, applied, sent, 10);
    if (expected === null) expect(reason).toBeNull();
    else expect(reason).toContain(expected);
  });
});

test('release ids are read as they are written', () => {
  expect(parseReleaseId(releaseId({ lineage: 1, lineageId: 'x', term: 22, sequence: 333 }))).toEqual({
    lineage: 1,
    term: 22,
    sequence: 333,
  });
  for (const bad of ['', '1.2', '1.2.3.4', '1.2.x', '-1.2.3', '1.2.99999999999999999999']) expect(parseReleaseId(bad)).toBeUndefined();
});

test('only the last step of a release ends its deployment', () => {
  expect(
    ['accepted', 'waiting', 'checked', 'validated', 'shadow_booted', 'restarted', 'endpoints_written', 'recovered', 'adopted', 'cut'].map(
      finalState,
    ),
  ).toEqual(new Array(10).fill(undefined));
  expect(['proven', 'failed', 'refused', 'superseded'].map(finalState)).toEqual(['proven', 'failed', 'refused', 'superseded']);
});
