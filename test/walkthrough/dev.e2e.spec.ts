import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, jest, test } from '@jest/globals';

import { checkout, DevHarness, newDataDir, send } from '../support/dev-harness.js';

jest.setTimeout(180_000);

const open = new Set<DevHarness>();
const folders = new Set<string>();

afterEach(async () => {
  const started = [...open];
  open.clear();
  for (const dev of started) await dev.halt();
  for (const dev of started) await dev.dispose();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  folders.clear();
}, 120_000);

type StartOptions = Parameters<typeof DevHarness.start>[0];

async function start(options: StartOptions = {}): Promise<DevHarness> {
  const dev = await DevHarness.start(options);
  open.add(dev);
  return dev;
}

function launch(options: StartOptions = {}): DevHarness {
  const dev = DevHarness.launch(options);
  open.add(dev);
  return dev;
}

function dataDir(): string {
  const folder = newDataDir();
  folders.add(folder);
  return folder;
}

async function post(dev: DevHarness, name: string, service = 'gruesvc'): Promise<void> {
  const answer = await dev.api(`/ambassador/mapping/${name}`, {
    method: 'POST',
    body: { prefix: `/${name}/`, service, rewrite: '/grue/' },
  });
  expect(answer).toMatchObject({ status: 200, json: { ok: true } });
}

async function answersThroughGateway(dev: DevHarness, name: string): Promise<void> {
  await dev.until(
    () => dev.through(`/${name}/health`).catch(() => ({ status: 0, headers: {}, text: '', json: undefined })),
    ({ status }) => status === 200,
    30_000,
  );
}

interface Target {
  readonly desiredVersion: number;
  readonly provenVersion: number;
  readonly epoch: number;
  readonly windowEndsAt: string | null;
}

describe('bin/dev', () => {
  test('ends with nothing left, exit 0; the same command resumes with the data kept, in less than six seconds', async () => {
    const data = dataDir();
    const first = await start({ data });
    expect(first.ready.processes).toMatchObject(
      Object.fromEntries(['api', 'projector', 'worker', 'agent', 'postgres', 'envoy'].map((name) => [name, expect.any(Number)])),
    );
    expect(readFileSync(join(data, 'token'), 'utf8').trim()).toBe(first.ready.token);
    expect(statSync(join(data, 'token')).mode & 0o777).toBe(0o600);
    await post(first, 'kept');
    await answersThroughGateway(first, 'kept');
    expect(await first.stop('SIGINT')).toBe(0);
    expect(first.leftovers()).toEqual([]);
    expect(first.events.at(-1)).toEqual({ event: 'stopped' });

    const began = performance.now();
    const second = await start({ data });
    const tookMs = performance.now() - began;
    expect(tookMs).toBeLessThan(6_000);
    expect(second.ready.token).toBe(first.ready.token);
    expect([second.ready.api, second.ready.gateway, second.ready.database]).toEqual([
      first.ready.api,
      first.ready.gateway,
      first.ready.database,
    ]);
    await answersThroughGateway(second, 'kept');
    expect(await second.stop()).toBe(0);
    expect(second.leftovers()).toEqual([]);
  });

  test('starts what dies again, and says so when it is ready: each process, Postgres and Envoy included', async () => {
    const dev = await start();
    await post(dev, 'steady');
    await answersThroughGateway(dev, 'steady');
    for (const name of ['api', 'projector', 'worker', 'agent', 'gruesvc', 'postgres', 'envoy']) {
      const before = dev.pidOf(name);
      const from = dev.events.length;
      const after = await dev.killAndAwait(name);
      expect(after).not.toBe(before);
      // Envoy is the agent's: bin/dev tells of its return, not of its death.
      if (name !== 'envoy')
        expect(dev.events.slice(from)).toContainEqual(expect.objectContaining({ event: 'died', process: name, pid: before }));
    }
    await dev.until(
      () => dev.api('/readyz', { token: '' }),
      ({ status }) => status === 200,
    );
    await answersThroughGateway(dev, 'steady');
    await post(dev, 'later');
    await answersThroughGateway(dev, 'later');
    expect(await dev.stop()).toBe(0);
    expect(dev.leftovers()).toEqual([]);
  });

  test('killed itself: traffic goes on, nothing without a watcher stays, and the next start takes over', async () => {
    const data = dataDir();
    const first = await start({ data });
    await post(first, 'onward');
    await answersThroughGateway(first, 'onward');
    const { postgres, gruesvc } = first.ready.processes;
    await first.until(
      () => first.api('/v1/gateways/default/targets/dev'),
      ({ json }) => (json as Target).provenVersion === (json as Target).desiredVersion && (json as Target).windowEndsAt === null,
    );
    const envoy = first.pidOf('envoy');
    const failures: string[] = [];
    const load = { asked: 0, stop: false };
    const traffic = (async () => {
      while (!load.stop) {
        load.asked += 1;
        const answer = await send(`${first.ready.gateway}/onward/health`).catch((error: Error) => ({ status: error.message }));
        if (answer.status !== 200) failures.push(String(answer.status));
        await sleep(5);
      }
    })();
    await first.kill();
    const end = performance.now() + 20_000;
    while (first.leftovers().some((name) => /^(api|projector|worker|agent) /.test(name))) {
      if (performance.now() > end) throw new Error(`still there: ${first.leftovers().join(', ')}`);
      await sleep(50);
    }
    const second = await start({ data });
    load.stop = true;
    await traffic;
    expect(second.ready.processes).toMatchObject({ postgres, gruesvc, envoy });
    expect(failures).toEqual([]);
    expect(load.asked).toBeGreaterThan(50);
    await post(second, 'thereafter');
    await answersThroughGateway(second, 'thereafter');
    expect(await second.stop()).toBe(0);
    expect(second.leftovers()).toEqual([]);
  });

  test('killed in the middle of its first start: the next one completes it', async () => {
    const data = dataDir();
    for (const step of ['postgres', 'gruesvc']) {
      const cut = launch({ data });
      await cut.untilEvent((event) => event.event === 'progress' && event.step === step);
      await cut.kill();
    }
    const dev = await start({ data });
    expect(await dev.stop()).toBe(0);
    expect(dev.leftovers()).toEqual([]);
  });

  test('two on one folder: the second says who has it and changes nothing', async () => {
    const first = await start();
    const second = launch({ data: first.data });
    expect(await second.exit()).toBe(1);
    expect(second.events).toContainEqual(
      expect.objectContaining({ event: 'failed', code: 'data_in_use', message: expect.stringContaining(`pid ${first.pid}`) }),
    );
    expect((await first.api('/readyz', { token: '' })).status).toBe(200);
  });

  test('a taken port: by whom, and the next step', async () => {
    const taken = createServer();
    const port = await listen(taken);
    try {
      for (const [option, label] of [
        ['api', 'API'],
        ['http', 'HTTP'],
        ['https', 'HTTPS'],
      ] as const) {
        const dev = launch({ ports: { [option]: port } });
        expect(await dev.exit()).toBe(1);
        const failed = dev.events.find((event) => event.event === 'failed');
        expect(failed).toMatchObject({
          code: 'port_taken',
          message: expect.stringContaining(`process ${process.pid} `),
          nextStep: expect.stringContaining(`--${option}-port`),
        });
        expect(String(failed?.message)).toContain(label);
        expect(dev.leftovers()).toEqual([]);
      }
    } finally {
      taken.close();
    }
  });

  test('an inner port that somebody took meanwhile is replaced by another', async () => {
    const data = dataDir();
    const first = await start({ data });
    await first.stop();
    const ports = JSON.parse(readFileSync(join(data, 'dev.json'), 'utf8')).ports as Record<string, number>;
    const squatters = [createServer(), createServer()];
    try {
      await listen(squatters[0] as Server, ports.worker);
      await listen(squatters[1] as Server, ports.postgres);
      const second = await start({ data });
      await post(second, 'elsewhere');
      await answersThroughGateway(second, 'elsewhere');
      expect(await second.stop()).toBe(0);
    } finally {
      for (const squatter of squatters) squatter.close();
    }
  });

  test('--fresh forgets the data of a folder of ours; a folder of somebody else is not touched', async () => {
    const data = dataDir();
    const first = await start({ data });
    await post(first, 'forgotten');
    await first.kill(); // --fresh must also end what a killed one left
    const second = await start({ data, args: ['--fresh', '--no-demo'] });
    expect((await second.api('/ambassador/mappings')).json).toMatchObject({ count: 0 });
    expect(second.ready.token).not.toBe(first.ready.token);
    expect(second.ready.processes).not.toHaveProperty('usersvc');
    await second.stop();
    expect(second.leftovers()).toEqual([]);

    const foreign = dataDir();
    writeFileSync(join(foreign, 'thesis.tex'), 'years of work');
    const refused = launch({ data: foreign, args: ['--fresh'] });
    expect(await refused.exit()).toBe(1);
    expect(refused.events).toContainEqual(expect.objectContaining({ event: 'failed', code: 'not_a_data_folder' }));
    expect(readFileSync(join(foreign, 'thesis.tex'), 'utf8')).toBe('years of work');
  });

  test('asked to end in the middle of the start, it ends everything, exit 0; a second signal hurries', async () => {
    const dev = launch();
    await dev.untilEvent((event) => event.event === 'progress' && event.step === 'gruesvc');
    process.kill(dev.pid, 'SIGTERM');
    process.kill(dev.pid, 'SIGTERM');
    expect(await dev.exit(20_000)).toBe(0);
    expect(dev.leftovers()).toEqual([]);
  });

  test('runs for a plain user, in a home that is closed to others', async () => {
    if (process.getuid?.() !== 0) {
      // This very run is a plain user's; the other tests have shown it.
      expect(process.getuid?.()).toBeGreaterThan(0);
      return;
    }
    const uid = 65_534; // nobody
    const home = mkdtempSync(join(tmpdir(), 'chancery-home-'));
    folders.add(home);
    chownSync(home, uid, uid);
    chmodSync(home, 0o700);
    const data = join(home, 'data');
    mkdirSync(data);
    chownSync(data, uid, uid);
    const dev = await start({
      data,
      env: { HOME: home, TMPDIR: tmpdir() },
      prefix: ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'],
    });
    expect(statSync(`/proc/${dev.pidOf('postgres')}`).uid).toBe(uid);
    expect(statSync(`/proc/${dev.pidOf('envoy')}`).uid).toBe(uid);
    await post(dev, 'plain');
    await answersThroughGateway(dev, 'plain');
    expect(await dev.stop()).toBe(0);
    expect(dev.leftovers()).toEqual([]);
  });

  test('says how it is used, and refuses what it does not know', () => {
    const help = spawnSync(join(checkout, 'bin/dev'), ['--help'], { encoding: 'utf8' });
    expect(help).toMatchObject({ status: 0, stdout: expect.stringContaining('Examples:') });
    const wrong = spawnSync(join(checkout, 'bin/dev'), ['--api-port', 'http'], { encoding: 'utf8' });
    expect(wrong).toMatchObject({ status: 2, stderr: expect.stringContaining('--api-port') });
    expect(existsSync(join(checkout, 'http'))).toBe(false);
  });
});

/** Somebody else's server: it takes connections, says nothing, and lets go of those whose other end has gone. */
function listen(server: Server, port = 0): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.on('connection', (socket) => socket.on('error', () => undefined).resume());
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      resolve(address !== null && typeof address === 'object' ? address.port : 0);
    });
  });
}
