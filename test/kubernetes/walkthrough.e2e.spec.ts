import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';

import { startPostgres } from '#platform/postgres/embedded-postgres.js';

import { HouseProcess } from '../faults/house-process.js';
import { lostCount, type RunningLoad, startLoad } from '../load/load-client.js';
import { describeWhere } from '../support/describe-where.js';
import { checkout, DevHarness } from '../support/dev-harness.js';
import { ClusterObjects } from './api-under-test.js';
import { missingTool, podOf, readManifests } from './manifests.js';
import { RealApi } from './real-api.js';

jest.setTimeout(300_000);

const lacking = RealApi.missing() ?? missingTool('kubectl') ?? missingTool('openssl');

/** The lines of the document that are to be run, each block with the paragraph before it. */
function readSteps(): { say: string; lines: string }[] {
  const text = readFileSync(join(checkout, 'docs/kubernetes.md'), 'utf8');
  return [...text.matchAll(/(?:^|\n)([^\n]*)\n\n```sh walkthrough\n([\s\S]*?)```/g)].map(([, say = '', lines = '']) => ({ say, lines }));
}

/*
 * There is no kubelet and no controller here: the API server is real, the manifests are applied to it, and what they would run runs on this machine:
 * the parts of Chancery by bin/dev, the worker as the service account of the manifests with the variables of its Deployment, and the demo services as
 * processes whose EndpointSlices this writes, as the controller would.
 */
describeWhere(lacking, 'the walkthrough on Kubernetes, as docs/kubernetes.md has it', () => {
  const steps = readSteps();
  let api: RealApi;
  let folder: string;
  let dev: DevHarness;
  let postgres: Awaited<ReturnType<typeof startPostgres>>;
  let objects: ClusterObjects;
  let load: RunningLoad | undefined;
  const services: HouseProcess[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'chancery-walk-'));
    symlinkSync(join(checkout, 'deploy'), join(folder, 'deploy'));
    [api, postgres] = await Promise.all([RealApi.start(), startPostgres({ dataDir: join(folder, 'pg'), fsync: false })]);
    objects = new ClusterObjects(api.access('admin-token'));
    writeFileSync(join(folder, 'kubeconfig'), api.kubeconfig());
    run('kubectl apply -f deploy/kubernetes/base/namespaces.yaml');
    run('deploy/secrets.sh secrets | kubectl apply --server-side -f -');
    run('kubectl apply -k deploy/kubernetes/base');
    dev = await DevHarness.start({ args: ['--no-demo'], env: await workerVariables() });
  });
  afterAll(async () => {
    await load?.stop();
    for (const service of services) await service.kill();
    await dev?.dispose();
    objects?.close();
    await api?.dispose();
    if (postgres !== undefined) process.kill(postgres.pid, 'SIGINT');
    rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  });

  /** What the worker's pod is told of Kubernetes, as its Deployment says and the kubelet would add. */
  async function workerVariables(): Promise<Record<string, string>> {
    const worker = readManifests('base').find(({ kind, metadata }) => kind === 'Deployment' && metadata.name === 'chancery-worker');
    const env = (worker === undefined ? undefined : podOf(worker))?.containers[0]?.env ?? [];
    const told = env.filter(({ name }) => name.startsWith('CHANCERY_KUBERNETES')).map(({ name, value = '' }) => [name, value] as const);
    expect(told.length).toBeGreaterThanOrEqual(4);
    return {
      ...Object.fromEntries(told),
      KUBERNETES_SERVICE_HOST: '127.0.0.1',
      KUBERNETES_SERVICE_PORT: String(api.port),
      CHANCERY_KUBERNETES_ACCOUNT_DIR: await api.podFolder('chancery', 'chancery-worker'),
    };
  }

  function environment(): Record<string, string> {
    return {
      PATH: process.env.PATH ?? '',
      HOME: folder,
      KUBECONFIG: join(folder, 'kubeconfig'),
      ...(dev === undefined ? {} : { API: dev.ready.api, TOKEN: dev.ready.token, AMBASSADORURL: dev.ready.gateway }),
    };
  }

  function run(lines: string): string {
    return execFileSync('/bin/sh', ['-euc', lines], {
      cwd: folder,
      env: environment(),
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** The next block, which must be the one with this in its text or its lines; answers what it prints. */
  async function step(mark: string): Promise<string> {
    const next = steps.shift();
    expect(`${next?.say}\n${next?.lines}`).toContain(mark);
    const shell = spawn('/bin/sh', ['-eu', '-c', next?.lines ?? ''], {
      cwd: folder,
      env: environment(),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
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
    if (code !== 0) throw new Error(`${next?.lines}\nended with ${code}: ${output}\n${errors}`);
    return output;
  }
  const json = async (mark: string) => JSON.parse(await step(mark)) as Record<string, unknown>;

  /** In place of the kubelet and the controllers: the pods of a Service, and the slice that says where they are. */
  async function bringUp(name: string, env: Record<string, string>): Promise<void> {
    const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
    const host = addresses.find(({ internal, family }) => !internal && family === 'IPv4')?.address ?? '';
    const pod = HouseProcess.start(name, `demo/src/${name}.js`, { ...env, CHANCERY_DEMO_LISTEN: `${host}:0` });
    services.push(pod);
    const { url } = await pod.ready();
    await objects.slice(`default/${name}-1`, name, {
      ports: [{ name: 'http', port: Number(new URL(String(url)).port) }],
      endpoints: [{ addresses: [host], conditions: { ready: true, serving: true, terminating: false } }],
    });
  }

  test('the demo services are applied, and come up', async () => {
    await step('deploy/kubernetes/demo');
    await bringUp('usersvc', { CHANCERY_DEMO_DATABASE_URL: postgres.ownerUrl });
    await bringUp('gruesvc', {});
  });

  test('a certificate that is kept as a Secret is set up', async () => {
    await step('create secret tls');
    const certificate = JSON.parse((await step('What certificates are set up')).trim().split('\n').at(-1) ?? '') as object;
    expect(certificate).toMatchObject({ name: 'edge', source: 'kubernetes', sans: { dns: ['www.example.com'] } });
    const { items } = (await dev.api('/v1/gateways/default/versions')).json as { items: { actor: string; action: string }[] };
    expect(items[0]).toMatchObject({ actor: 'kubernetes', action: 'PutCertificate' });
  });

  test('one POST, and the user service is reachable', async () => {
    expect(await json('healthy')).toMatchObject({ ok: true, msg: 'ambassador health check OK' });
    expect(await json('mapping/user')).toMatchObject({ ok: true, name: 'user' });
    expect(await json('/user/health')).toMatchObject({ ok: true, msg: 'user health check OK' });
    expect(await json('mappings')).toMatchObject({
      ok: true,
      count: 1,
      mappings: [{ name: 'user', prefix: '/user/', rewrite: '/', service: 'usersvc' }],
    });
    expect(await json('stats')).toMatchObject({ mappings: { user: expect.anything() } });
  });

  test('so is the one that expects its prefix; applying everything again wipes nothing; one mapping goes, the other misses no request', async () => {
    expect(await json('mapping/grue')).toMatchObject({ ok: true, name: 'grue' });
    expect(await json('/grue/health')).toMatchObject({ ok: true, msg: 'grue health check OK' });
    const { hostname, port } = new URL(dev.ready.gateway);
    load = startLoad({ host: hostname, port: Number(port), path: '/grue/health', rate: 50, lanes: ['new', 'busy'] });
    const again = await step('applied again');
    expect(again).toContain('service/chancery-https unchanged');
    expect(again).toContain('"name":"edge"');
    expect(await json('DELETE')).toMatchObject({ ok: true, name: 'user' });
    await dev.until(
      () => dev.through('/user/health'),
      ({ status }) => status === 404,
    );
    const result = await load.stop();
    load = undefined;
    expect({ lost: result.lost.slice(0, 3), count: lostCount(result) }).toEqual({ lost: [], count: 0 });
    expect(steps).toEqual([]);
  });
});
