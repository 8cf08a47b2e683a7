import { connect } from 'node:net';

import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

import { sqlQuery } from '#platform/database/database.js';

import { startTestApi, type TestAnswer, type TestApi } from './test-api.js';

const mappings = '/v1/gateways/default/mappings';

describe('the edge', () => {
  let test: TestApi;
  beforeAll(async () => {
    test = await startTestApi();
  });
  afterAll(() => test.close());

  /** Bytes as they are, for what no client library would send. Answers all that came until the server closed or went quiet. */
  const rawRequest = (text: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect(Number(new URL(test.api.url).port), '127.0.0.1', () => socket.write(text, 'latin1'));
      let answer = '';
      socket.setTimeout(2_000, () => socket.destroy());
      socket.on('data', (chunk) => {
        answer += chunk.toString('latin1');
      });
      socket.on('error', reject);
      socket.on('close', () => resolve(answer));
    });

  it('says 404 and 405 as problems, with Allow', async () => {
    const unknown = await test.ask('GET', '/v1/nothing');
    expect(unknown.json).toMatchObject({
      status: 404,
      code: 'route_unknown',
      type: 'urn:chancery:problem:route_unknown',
      title: 'Not found',
      instance: '/v1/nothing',
    });
    expect(unknown.headers['content-type']).toMatch(/^application\/problem\+json/);
    const method = await test.ask('PUT', mappings);
    expect([method.status, method.json.code, method.headers.allow]).toEqual([405, 'method_not_allowed', 'GET, HEAD, POST']);
    expect((await test.ask('OPTIONS', '/healthz')).status).toBe(405);
    expect((await test.ask('GET', '/v1/%zz')).status).toBe(400);
    expect((await test.ask('GET', `${mappings}/${'x'.repeat(500)}`)).status).toBe(414);
  });

  it("names every request, by the client's id where it is sane", async () => {
    expect((await test.ask('GET', '/healthz', { headers: { 'x-request-id': 'abc-123' } })).headers['x-request-id']).toBe('abc-123');
    for (const insane of ['a b', 'x'.repeat(129), '"', '{}']) {
      const answer = await test.ask('GET', '/v1/nothing', { headers: { 'x-request-id': insane } });
      expect(answer.headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/);
      expect(answer.json.requestId).toBe(answer.headers['x-request-id']);
    }
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    await test.ask('GET', '/v1/gateways', { headers: { traceparent, 'x-request-id': 'traced-one' } });
    const line =
      test
        .logged()
        .split('\n')
        .find((one) => one.includes('traced-one')) ?? '{}';
    expect(JSON.parse(line)).toMatchObject({
      requestId: 'traced-one',
      traceparent,
      status: 200,
      route: '/v1/gateways',
      actor: expect.stringMatching(/^token\//),
    });
  });

  it.each([
    ['text/plain', 415],
    ['application/x-www-form-urlencoded', 415],
    ['multipart/form-data; boundary=x', 415],
    ['application/xml', 415],
    ['', 415],
    ['application/json; charset=utf-8', 201],
    ['APPLICATION/JSON', 201],
  ])('takes a body of type %j as it should', async (type, status) => {
    const name = `type${Buffer.from(type).toString('hex')}`.slice(0, 60);
    const raw = JSON.stringify({ name, prefix: `/${name}/`, service: 'usersvc' });
    const answer = await test.ask('POST', mappings, { raw, headers: { 'content-type': type } });
    expect(answer.status).toBe(status);
    if (status === 415) expect([answer.json.code, answer.headers.accept]).toEqual(['media_type_unsupported', 'application/json']);
  });

  it.each(['gzip', 'br', 'deflate', 'identity, gzip', 'x'])('refuses the content encoding %s', async (encoding) => {
    const answer = await test.ask('POST', mappings, { raw: '{}', headers: { 'content-encoding': encoding } });
    expect([answer.status, answer.json.code]).toEqual([415, 'content_encoding_unsupported']);
  });

  it('bounds the body, and says nothing of it to a stranger', async () => {
    const large = await test.ask('POST', mappings, { raw: `{"name":"${'x'.repeat(256 * 1024)}"}` });
    expect([large.status, large.json.code]).toEqual([413, 'body_too_large']);
    const stranger = await test.ask('POST', mappings, { raw: '{broken', token: null });
    expect([stranger.status, stranger.json.code]).toEqual([401, 'token_missing']);
  });

  it('answers bytes that are no HTTP, and headers without end, with a problem', async () => {
    expect(await rawRequest('GARBAGE\r\n\r\n')).toMatch(/^HTTP\/1.1 400 .*"code":"http_malformed"/s);
    expect(await rawRequest(`GET /healthz HTTP/1.1\r\nHost: x\r\nX-Big: ${'a'.repeat(20_000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1.1 431 .*"code":"headers_too_large"/s,
    );
    const smuggled = 'POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n';
    expect(await rawRequest(smuggled)).toMatch(/^HTTP\/1.1 400 /);
    expect(await rawRequest('GET http://evil@127.0.0.1/../v1/gateways HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')).toMatch(
      /^HTTP\/1.1 40[01345] /,
    );
  });

  it('never shows a token, whole or in part, in an answer or in the log', async () => {
    const secret = test.token.slice(21);
    const answers: TestAnswer[] = [];
    for (const path of [
      '/v1/tokens',
      '/v1/gateways',
      '/v1/gateways/default/versions',
      '/metrics',
      `/v1/${test.token}`,
      `/v1/gateways/${test.token}/mappings`,
    ]) {
      answers.push(await test.ask('GET', path));
    }
    answers.push(await test.ask('POST', '/v1/tokens', { body: { scopes: ['read'], secretSha256: secret } }));
    const told = answers.filter((answer) => !answer.json?.instance?.includes('chy_')).map((answer) => answer.text);
    expect(told.filter((text) => text.includes(secret))).toEqual([]);
    expect(test.logged()).not.toContain(secret);
    expect(test.logged()).not.toMatch(/"authorization"/i);
  });

  it('writes one line per command, with who, what, which version, and the result', async () => {
    await test.ask('POST', mappings, {
      body: { name: 'logged', prefix: '/logged/', service: 'a' },
      headers: { 'x-request-id': 'logged-1' },
    });
    await test.ask('POST', mappings, {
      body: { name: 'logged', prefix: '/logged/', service: 'a' },
      headers: { 'x-request-id': 'logged-2' },
    });
    const lines = test
      .logged()
      .split('\n')
      .filter((line) => line.includes('"command":'))
      .map((line) => JSON.parse(line));
    expect(lines.filter((line) => line.requestId === 'logged-1')).toMatchObject([
      { command: 'CreateMapping', result: 'accepted', subjects: ['mapping/logged'] },
    ]);
    expect(lines.filter((line) => line.requestId === 'logged-2')).toMatchObject([{ command: 'CreateMapping', result: 'mapping_exists' }]);
  });

  it('counts by route and by command, never by path', async () => {
    const { text } = await test.ask('GET', '/metrics');
    expect(text).toMatch(/chancery_build_info\{version="\d/);
    expect(text).toContain('chancery_commands_total{type="CreateMapping",result="accepted"}');
    expect(text).toContain(
      'chancery_http_request_duration_seconds_count{method="POST",route="/v1/gateways/:gateway/mappings",status="201"}',
    );
    expect(text).not.toContain('/v1/nothing');
    expect(text).toMatch(/chancery_command_duration_seconds_count\{type="CreateMapping"\} [1-9]/);
    expect(text).toMatch(/chancery_events_appended_total\{type="MappingCreated"\} [1-9]/);
    const { headers } = await test.ask('GET', '/v1/gateways/default/mappings/logged');
    expect(text).toContain(`chancery_config_version{gateway="default"} ${headers['chancery-version']}\n`);
  });

  it('says how far the projection is behind, which is no failure', async () => {
    const { status, json } = await test.ask('GET', '/readyz?verbose');
    expect([status, json.status]).toEqual([200, 'ok']);
    const [head] = await sqlQuery<{ version: number }>(
      test.api.database.db,
      "SELECT version FROM chancery.stream WHERE stream = 'gateway/default'",
      [],
    );
    const detail = `The route tables are at most ${head?.version} versions behind the log.`; // no projector runs here
    expect(json.checks).toContainEqual({ name: 'projection', ok: true, detail });
  });

  it('cuts off clients that send slowly, while the others are served as ever', async () => {
    const port = Number(new URL(test.api.url).port);
    const slow = Array.from({ length: 300 }, () => connect(port, '127.0.0.1'));
    const answers = slow.map(
      (socket) =>
        new Promise<string>((resolve) => {
          let text = '';
          socket.on('data', (chunk) => {
            text += chunk;
          });
          socket.on('error', () => resolve(text));
          socket.on('close', () => resolve(text));
        }),
    );
    for (const socket of slow) socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ');
    const start = performance.now();
    const drip = setInterval(() => {
      for (const socket of slow) if (socket.writable) socket.write('a');
    }, 1_000);
    const latencies: number[] = [];
    let over = false;
    const all = Promise.all(answers).finally(() => {
      over = true;
      clearInterval(drip);
    });
    while (!over) {
      const asked = performance.now();
      expect((await test.ask('GET', '/v1/gateways')).status).toBe(200);
      latencies.push(performance.now() - asked);
    }
    for (const text of await all) expect(text).toMatch(/^HTTP\/1.1 408 .*"code":"request_timeout"/s);
    expect(performance.now() - start).toBeLessThan(20_000);
    latencies.sort((a, b) => a - b);
    expect(latencies[Math.floor(latencies.length * 0.99)]).toBeLessThan(200);
  }, 30_000);
});
