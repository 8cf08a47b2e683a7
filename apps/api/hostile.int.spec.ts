import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

import type { Json } from '#platform/kernel/json.js';

import { type Expectation, type HostileCase, hostileName } from '../../test/hostile/hostile-case.js';
import { hostileInputs } from '../../test/hostile/hostile-inputs.js';
import { startTestApi, type TestAnswer, type TestApi } from './test-api.js';

function send(test: TestApi, hostile: HostileCase, path: string, body: Readonly<Record<string, unknown>> | undefined): Promise<TestAnswer> {
  const headers = { 'content-type': hostile.contentType ?? 'application/json' };
  if (hostile.raw !== undefined) return test.ask('POST', path, { raw: Buffer.from(hostile.raw), headers });
  return test.ask('POST', path, { raw: JSON.stringify(body as Json), headers });
}

describe('hostile input over HTTP', () => {
  let test: TestApi;
  beforeAll(async () => {
    test = await startTestApi({ CHANCERY_ALLOW_LOOPBACK_UPSTREAMS: 'false' });
    await test.ask('POST', '/v1/gateways/default/mappings', { body: { name: 'witness', prefix: '/witness/', service: 'usersvc' } });
  });
  afterAll(() => test.close());

  /** What each answer must be: the refusal that was expected, no internals, and the log as it was. */
  const check = async (ask: () => Promise<TestAnswer>, expected: Expectation) => {
    const before = await test.fingerprint();
    const answer = await ask();
    const { status, json } = answer;
    expect({ status, code: json?.code, pointer: json?.errors?.[0]?.pointer }).toEqual(expected);
    expect(answer.text).not.toMatch(/node_modules|\.js:\d|SELECT |chancery\.|postgres/i);
    expect(({} as Record<string, unknown>).admin).toBeUndefined();
    expect(await test.fingerprint()).toBe(before);
  };

  it('has at least 150 cases, 15 in each class', () => {
    const classes = new Map<string, number>();
    for (const hostile of hostileInputs) classes.set(hostile.class, (classes.get(hostile.class) ?? 0) + 1);
    expect(hostileInputs.length).toBeGreaterThanOrEqual(150);
    expect([...classes].filter(([, size]) => size < 15)).toEqual([]);
  });

  const forV1 = hostileInputs.flatMap((hostile) =>
    hostile.v1 === null ? [] : [{ name: `${hostile.class}: ${hostile.title}`, hostile, expected: hostile.v1 }],
  );
  it.each(forV1)('v1 refuses $name', async ({ hostile, expected }) => {
    await check(() => send(test, hostile, '/v1/gateways/default/mappings', hostile.body), expected);
  });

  const forAmbassador = hostileInputs.flatMap((hostile) =>
    hostile.ambassador === null ? [] : [{ name: `${hostile.class}: ${hostile.title}`, hostile, expected: hostile.ambassador }],
  );
  it.each(forAmbassador)('ambassador refuses $name', async ({ hostile, expected }) => {
    const { name: _name, ...body } = hostile.body ?? {};
    await check(() => send(test, hostile, `/ambassador/mapping/${hostileName(hostile.name)}`, body), expected);
  });
});
