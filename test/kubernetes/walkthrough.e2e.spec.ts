import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';

import { startPostgres } from '#platform/postgres/embedded-postgres.js';

import { HouseProcess } from '../faults/house-process.js';
import { lostCount, type RunningLoad, startLoad } from '../load/load-client.js';
import { describeWhere } from '../support/describe-where.js';
import { checkout, DevHarness } from '../support/dev-harness.js';
import { ClusterObjects } from './api-under-test.js';
import { ownAddress } from './cluster-house.js';
import { type WalkStage, walkStages } from './walk-stage.js';

jest.setTimeout(300_000);

/** The lines of the document that are to be run, each block with the paragraph before it. */
function readSteps(): { say: string; lines: string }[] {
  const text = readFileSync(join(checkout, 'docs/kubernetes.md'), 'utf8');
  return [...text.matchAll(/(?:^|\n)([^\n]*)\n\n```sh walkthrough\n([\s\S]*?)```/g)].map(([, say = '', lines = '']) => ({ say, lines }));
}

/** The JSON objects among what was printed; curl puts no end of line behind them. */
const objectsIn = (text: string) =>
  text.split(/\n|(?<=\})(?=\{)/).flatMap((part) => (part.startsWith('{') ? [JSON.parse(part) as object] : []));

/*
 * There is no kubelet and no controller here: the manifests are applied to the API server, and what they would run runs on this machine: the parts of
 * Chancery by bin/dev, the worker with the variables of its Deployment (and on the real server as the service account of the manifests), and the demo
 * services as processes whose EndpointSlices this writes, as the controller would.
 */
for (const { name, lacking, start } of walkStages) {
  describeWhere(lacking, `the walkthrough on Kubernetes, as docs/kubernetes.md has it, on ${name}`, () => {
    const steps = readSteps();
    let stage: WalkStage;
    let folder: string;
    let dev: DevHarness;
    let postgres: Awaited<ReturnType<typeof startPostgres>>;
    let objects: ClusterObjects;
    let load: RunningLoad | undefined;
    const services: HouseProcess[] = [];

    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), 'chancery-walk-'));
      symlinkSync(join(checkout, 'deploy'), join(folder, 'deploy'));
      [stage, postgres] = await Promise.all([start(folder), startPostgres({ dataDir: join(folder, 'pg'), fsync: false })]);
      objects = new ClusterObjects(stage.access);
      await run('kubectl apply -f deploy/kubernetes/base/namespaces.yaml');
      await run('deploy/secrets.sh secrets | kubectl apply --server-side -f -');
      await run('kubectl apply -k deploy/kubernetes/base');
      dev = await DevHarness.start({ args: ['--no-demo'], env: await stage.workerVariables() });
    });
    afterAll(async () => {
      await load?.stop();
      for (const service of services) await service.kill();
      await dev?.dispose();
      objects?.close();
      await stage?.dispose();
      if (postgres !== undefined) process.kill(postgres.pid, 'SIGINT');
      rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
    });

    function environment(): Record<string, string> {
      const { api = '', token = '', gateway = '', tls = '' } = dev?.ready ?? {};
      const running = { API: api, TOKEN: token, AMBASSADORURL: gateway, EDGE: `127.0.0.1:${tls.split(':').at(-1)}` };
      return { HOME: folder, ...stage.shell, ...(dev === undefined ? {} : running) };
    }

    /** Runs lines in a shell as a person's, and answers what they print. The test goes on meanwhile: it may be who is asked. */
    async function run(lines: string): Promise<string> {
      const shell = spawn('/bin/sh', ['-eu', '-c', lines], { cwd: folder, env: environment(), stdio: ['ignore', 'pipe', 'pipe'] });
      let [output, errors] = ['', ''];
      shell.stdout.on('data', (chunk: Buffer) => {
        output += chunk.toString();
      });
      shell.stderr.on('data', (chunk: Buffer) => {
        errors += chunk.toString();
      });
      const deadline = setTimeout(() => shell.kill('SIGKILL'), 60_000);
      const code = await new Promise((resolve) => shell.once('close', resolve));
      clearTimeout(deadline);
      if (code !== 0) throw new Error(`${lines}\nended with ${code}: ${output}\n${errors}`);
      return output;
    }

    /** The next block, which must be the one with this in its text or its lines; answers what it prints. */
    async function step(mark: string): Promise<string> {
      const next = steps.shift();
      expect(`${next?.say}\n${next?.lines}`).toContain(mark);
      return run(next?.lines ?? '');
    }
    const json = async (mark: string) => JSON.parse(await step(mark)) as Record<string, unknown>;

    /** In place of the kubelet and the controllers: the pods of a Service, and the slice that says where they are. */
    async function bringUp(service: string, env: Record<string, string>): Promise<void> {
      const host = ownAddress();
      const pod = HouseProcess.start(service, `demo/src/${service}.js`, { ...env, CHANCERY_DEMO_LISTEN: `${host}:0` });
      services.push(pod);
      const { url } = await pod.ready();
      await objects.slice(`default/${service}-1`, service, {
        ports: [{ name: 'http', port: Number(new URL(String(url)).port) }],
        endpoints: [{ addresses: [host], conditions: { ready: true, serving: true, terminating: false } }],
      });
    }

    const actors = async () => {
      const { items } = (await dev.api('/v1/gateways/default/versions')).json as { items: { actor: string; action: string }[] };
      return items.filter(({ action }) => action === 'PutCertificate').map(({ actor }) => actor);
    };

    test('the demo services are applied, and come up', async () => {
      await step('deploy/kubernetes/demo');
      await bringUp('usersvc', { CHANCERY_DEMO_DATABASE_URL: postgres.ownerUrl });
      await bringUp('gruesvc', {});
    });

    test('a certificate that is kept as a Secret is set up', async () => {
      await step('create secret tls');
      const edge = { name: 'edge', source: 'kubernetes', sans: { dns: ['www.example.com'] } };
      const [one, all] = objectsIn(await step('What certificates are set up'));
      expect(one).toMatchObject(edge);
      expect(all).toMatchObject({ items: [edge] });
      expect(await actors()).toEqual(['kubernetes']);
    });

    test('one POST, and the user service is reachable, over TLS too', async () => {
      expect(await json('healthy')).toMatchObject({ ok: true, msg: 'ambassador health check OK' });
      expect(await json('mapping/user')).toMatchObject({ ok: true, name: 'user' });
      expect(await json('Through the gateway')).toMatchObject({ ok: true, msg: 'user health check OK' });
      expect(await json('over TLS')).toMatchObject({ ok: true, msg: 'user health check OK' });
      expect(await json('mappings')).toMatchObject({
        ok: true,
        count: 1,
        mappings: [{ name: 'user', prefix: '/user/', rewrite: '/', service: 'usersvc' }],
      });
      expect(await json('stats')).toMatchObject({ mappings: { user: expect.anything() } });
    });

    test('the Secret is exchanged, and handshakes show it; another certificate is put; everything is reset by one call', async () => {
      const envoy = dev.pidOf('envoy');
      const former = readFileSync(join(folder, 'edge.crt'), 'utf8');
      await step('is exchanged');
      expect(readFileSync(join(folder, 'edge.crt'), 'utf8')).not.toBe(former);
      expect(await json('are shown the new one')).toMatchObject({ ok: true, msg: 'user health check OK' });
      expect(await json('put through the API')).toMatchObject({ name: 'shop' });
      expect(await json('asks for that name')).toMatchObject({ ok: true, msg: 'user health check OK' });
      expect(await actors()).toEqual([expect.stringMatching(/^token\//), 'kubernetes', 'kubernetes']);
      expect(await json('Everything is reset')).toMatchObject({ ok: true, msg: 'reconfigure requested' });
      expect(dev.pidOf('envoy')).toBe(envoy);
    });

    test('so is the one that expects its prefix; applying everything again wipes nothing; one mapping goes, the other misses no request', async () => {
      expect(await json('mapping/grue')).toMatchObject({ ok: true, name: 'grue' });
      expect(await json('/grue/health')).toMatchObject({ ok: true, msg: 'grue health check OK' });
      const { hostname, port } = new URL(dev.ready.gateway);
      load = startLoad({ host: hostname, port: Number(port), path: '/grue/health', rate: 50, lanes: ['new', 'busy'] });
      const again = await step('applied again');
      expect(again).toContain('service/chancery-http unchanged');
      expect(again).toContain('service/chancery-https created');
      expect(objectsIn(again)).toMatchObject([{ items: [{ name: 'edge' }, { name: 'shop' }] }, { ok: true }, { ok: true }]);
      expect(await json('DELETE')).toMatchObject({ ok: true, name: 'user' });
      await dev.until(
        () => dev.through('/user/health'),
        ({ status }) => status === 404,
      );
      const result = await load.stop();
      load = undefined;
      expect({ lost: result.lost.slice(0, 3), count: lostCount(result) }).toEqual({ lost: [], count: 0 });
      expect(await actors()).toHaveLength(3);
      expect(steps).toEqual([]);
    });
  });
}
