import { spawn } from 'node:child_process';
import { createConnection } from 'node:net';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';

import { DevHarness, send } from '../support/dev-harness.js';

/** The walkthrough of the first Ambassador, step by step, with the very lines that bin/dev prints for its user to paste. */
jest.setTimeout(60_000);
let dev: DevHarness;

beforeAll(async () => {
  dev = await DevHarness.start();
}, 180_000);

afterAll(async () => {
  await dev?.dispose();
}, 60_000);

/** Runs the printed line whose explanation begins with `say`, in a shell where the first line (the variables) was run before. */
async function paste(say: string): Promise<{ text: string; json: Record<string, unknown> }> {
  const steps = dev.ready.walkthrough ?? [];
  const step = steps.find((candidate) => candidate.say.startsWith(say));
  if (step === undefined) throw new Error(`nothing is printed for: ${say}`);
  const shell = spawn('/bin/sh', ['-eu', '-c', `${steps[0]?.line}\n${step.line}`], { stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000 });
  const output = { text: '', errors: '' };
  shell.stdout.on('data', (chunk: Buffer) => {
    output.text += chunk.toString();
  });
  shell.stderr.on('data', (chunk: Buffer) => {
    output.errors += chunk.toString();
  });
  const code = await new Promise<number | null>((resolve) => shell.once('close', resolve));
  if (code !== 0) throw new Error(`${step.line}\nended with ${code}: ${output.errors}`);
  return { text: output.text, json: JSON.parse(output.text) as Record<string, unknown> };
}

describe('the walkthrough', () => {
  test('1: the demo service answers by itself', async () => {
    const { json } = await paste('the demo service');
    expect(json).toEqual({
      hostname: expect.any(String),
      msg: 'user health check OK',
      ok: true,
      resolvedname: expect.stringMatching(/^[0-9a-f.:]+$/),
    });
  });

  test('2: plain HTTP is chosen; what certificates are set up is one call', async () => {
    expect(dev.ready.gateway).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    const answer = await dev.api('/v1/certs/list/approved');
    expect(answer).toMatchObject({ status: 200, json: { certificates: [] } });
  });

  test('3: the admin interface is not exported with the traffic port, and listens on loopback only', async () => {
    expect((await dev.through('/ambassador/health')).status).toBe(404);
    expect((await dev.through('/v1/gateways')).status).toBe(404);
    const port = Number(new URL(dev.ready.api).port);
    const outside = await new Promise<string>((resolve) => {
      const socket = createConnection({ port, host: '127.0.0.2' }); // another address of this machine
      socket.once('connect', () => {
        socket.destroy();
        resolve('connected');
      });
      socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
    });
    expect(outside).toBe('ECONNREFUSED');
  });

  test('4: the admin interface is healthy, without a token', async () => {
    const { json } = await paste('the admin interface');
    expect(json).toMatchObject({
      ok: true,
      msg: 'ambassador health check OK',
      hostname: expect.any(String),
      resolvedname: expect.any(String),
      version: expect.any(String),
    });
  });

  test('5 and 6: one POST, and the service answers through the gateway within two seconds, its prefix rewritten', async () => {
    expect((await dev.through('/user/health')).status).toBe(404);
    const { json } = await paste('one POST');
    const began = performance.now();
    expect(json).toMatchObject({ ok: true, name: 'user' });
    const answer = await dev.until(
      () => dev.through('/user/health'),
      ({ status }) => status === 200,
    );
    expect(answer.json).toMatchObject({ ok: true, msg: 'user health check OK' });
    expect(performance.now() - began).toBeLessThan(8_000); // two seconds on a quiet machine; this one may be busy
    expect((await paste('through the gateway')).json).toMatchObject({ ok: true });
  });

  test('7: the mappings are listed', async () => {
    const { json } = await paste('what is mapped');
    expect(json).toMatchObject({ ok: true, count: 1, mappings: [{ name: 'user', prefix: '/user/', rewrite: '/', service: 'usersvc' }] });
  });

  test('8: the statistics count what the mapping carried', async () => {
    const counted = await dev.until(
      () => dev.api('/ambassador/stats'),
      ({ json }) => Number((json as { mappings?: { user?: { upstream_ok?: number } } }).mappings?.user?.upstream_ok) > 0,
    );
    expect(counted.json).toMatchObject({
      mappings: { user: { healthy_members: 1, total_members: 1, healthy_percent: 100, upstream_bad: 0 } },
    });
    expect((await paste('what it carries')).json).toMatchObject({ mappings: { user: { upstream_bad: 0 } } });
  });

  test('9: a service that expects its prefix', async () => {
    expect((await paste('a service that expects')).json).toMatchObject({ ok: true, name: 'grue' });
    const { json } = await paste('and through the gateway');
    expect(json).toMatchObject({ ok: true, msg: 'grue health check OK' });
    expect((await paste('what is mapped')).json).toMatchObject({ count: 2, mappings: [{ name: 'grue' }, { name: 'user' }] });
  });

  test('TLS: a certificate is put, and the service answers over https with it', async () => {
    expect((await paste('a certificate to try TLS with')).json).toMatchObject({ name: 'localhost', sans: { dns: ['localhost'] } });
    expect((await paste('and the same over TLS')).json).toMatchObject({ ok: true, msg: 'grue health check OK' });
    const approved = await dev.api('/v1/certs/list/approved');
    expect(approved.status).toBe(200);
    const { json } = await dev.until(
      () => dev.api('/v1/gateways/default/certificates/localhost'),
      (answer) => ((answer.json as { live?: unknown[] }).live ?? []).length > 0,
    );
    expect(json).toMatchObject({ live: [{ target: 'dev', current: true }] });
  });

  test('10: the first route goes; the other never misses a request', async () => {
    const failures: string[] = [];
    const asked = { count: 0, stop: false };
    const load = (async () => {
      while (!asked.stop) {
        asked.count += 1;
        const answer = await send(`${dev.ready.gateway}/grue/health`).catch((error: Error) => ({ status: error.message }));
        if (answer.status !== 200) failures.push(String(answer.status));
      }
    })();
    expect((await paste('the first one goes')).json).toMatchObject({ ok: true, name: 'user' });
    await dev.until(
      () => dev.through('/user/health'),
      ({ status }) => status === 404,
    );
    // The parent's drain belongs to it: the last of its connections is cut there, if anywhere.
    await dev.until(
      () => dev.api('/v1/gateways/default/targets/dev'),
      ({ json }) => (json as { windowEndsAt: string | null }).windowEndsAt === null,
    );
    // A change that is delivered live is over before much was asked.
    await dev.until(
      () => dev.through('/grue/health'),
      () => asked.count > 50,
    );
    asked.stop = true;
    await load;
    expect(failures).toEqual([]);
  });

  test('afterwards every demo user can be kept through the gateway', async () => {
    await dev.api('/ambassador/mapping/user', { method: 'POST', body: { prefix: '/user/', service: 'usersvc' } });
    const put = await dev.until(
      () => dev.through('/user/user/alice', { method: 'PUT', body: { fullname: 'Alice Rules' } }),
      ({ status }) => status === 200,
    );
    expect(put.json).toMatchObject({ ok: true, name: 'alice' });
    expect((await dev.through('/user/user/alice')).json).toEqual({ ok: true, name: 'alice', fullname: 'Alice Rules' });
    expect((await dev.through('/user/user/alice', { method: 'DELETE' })).status).toBe(200);
    expect((await dev.through('/user/user/alice')).status).toBe(404);
  });
});
