import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

import { startTestApi, type TestAnswer, type TestApi } from './test-api.js';

const mappings = '/v1/gateways/default/mappings';

/** A wire to the database that can be cut (connections die, new ones are refused) or go mute (bytes no longer pass, nobody is told). */
class Wire {
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #mute = false;
  #port = 0;

  constructor(private readonly to: { readonly host: string; readonly port: number }) {}

  async open(): Promise<number> {
    this.#server = createServer((near) => {
      const far = connect(this.to.port, this.to.host);
      for (const [from, into] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(from);
        from.on('data', (chunk) => this.#mute || into.write(chunk));
        from.on('error', () => into.destroy());
        from.on('close', () => into.destroy());
      }
    });
    await new Promise<void>((resolve) => this.#server?.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (this.#server.address() as AddressInfo).port;
    return this.#port;
  }

  async cut(): Promise<void> {
    const closed = new Promise((resolve) => this.#server?.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
    await closed;
  }

  mute(on: boolean): void {
    this.#mute = on;
  }
}

describe('a database that goes away', () => {
  let test: TestApi;
  let wire: Wire;
  beforeAll(async () => {
    test = await startTestApi({}, {}, async (url) => {
      const through = new URL(url);
      wire = new Wire({ host: through.hostname, port: Number(through.port) });
      through.port = String(await wire.open());
      through.hostname = '127.0.0.1';
      return through.href;
    });
  });
  afterAll(async () => {
    await test.close();
    await wire.cut();
  });

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
});
