import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';

import { testEnvoy } from '#platform/envoy/envoy.fixture.js';
import { findFreePort } from '#platform/network/listening-port.js';
import { type EmbeddedPostgres, startPostgres } from '#platform/postgres/embedded-postgres.js';

import { describeWhere } from '../support/describe-where.js';
import { checkout, send } from '../support/dev-harness.js';
import { eventually } from '../support/eventually.js';
import { ownAddress } from './cluster-house.js';
import { Container, type ContainerMount, makeMountPoints, missingContainers, writeMountedSecret } from './container.js';
import { assembleImage, type ImageStage, readLastStage } from './image-tree.js';
import { deploy, type Manifest, missingTool, type PodSpec, podOf, readManifests, type VolumeMount } from './manifests.js';

jest.setTimeout(240_000);

const lacking = missingContainers() ?? missingTool('go') ?? missingTool('openssl');
const GROUP = 65_532;

/*
 * There is no registry and no Docker here. What the last stage of deploy/Dockerfile copies is put together in a folder, on this machine's Node and C library in
 * place of the base's, and the containers of the manifests are run from it: their words, variables, volumes and Secrets; as 65532, without new privileges, on
 * a root that cannot be written, the edge's launcher as process 1. The network is this machine's, so that ports are other ones; the API server is away.
 */
describeWhere(lacking, 'the image, run as the manifests have it', () => {
  const objects = [...readManifests('base'), ...readManifests('demo')];
  const stage: ImageStage = lacking === undefined ? readLastStage() : ({} as ImageStage);
  const running = new Map<string, Container>();
  const ports: Record<'api' | 'worker' | 'workerMetrics' | 'projectorMetrics' | 'http' | 'https' | 'demo', number> = {} as never;
  let folder: string;
  let image: string;
  let postgres: EmbeddedPostgres;
  let secrets: Record<string, Record<string, string>>;
  let token = '';

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'chancery-image-'));
    mkdirSync(join(checkout, '.cache'), { recursive: true });
    image = mkdtempSync(join(checkout, '.cache/image-')); // on the file system of what is linked
    chmodSync(image, 0o755);
    postgres = await startPostgres({ dataDir: join(folder, 'pg'), fsync: false });
    const launcher = join(folder, 'launcher');
    const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-mod=mod' };
    execFileSync('go', ['build', '-trimpath', '-ldflags', '-s -w', '-o', launcher, '.'], { cwd: join(deploy, 'launcher'), env });
    assembleImage(image, stage, { envoy: await testEnvoy(), launcher });
    writeFileSync(join(image, 'etc/hosts'), '127.0.0.1 localhost chancery-api.chancery.svc chancery-worker.chancery.svc\n');
    const mounted = objects.flatMap((object) => podOf(object)?.containers ?? []).flatMap(({ volumeMounts = [] }) => volumeMounts);
    makeMountPoints(
      image,
      mounted.map(({ mountPath }) => mountPath),
    );
    const taken = new Set<number>();
    for (const name of ['api', 'worker', 'workerMetrics', 'projectorMetrics', 'http', 'https', 'demo'] as const) {
      ports[name] = await findFreePort(taken);
      taken.add(ports[name]);
    }
    secrets = makeSecrets();
  });
  afterAll(async () => {
    for (const container of running.values()) await container.kill();
    await postgres?.stop();
    for (const path of [folder, image])
      if (path !== undefined) rmSync(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  });

  /** What deploy/secrets.sh makes, and the database's as docs/kubernetes.md has it. */
  function makeSecrets(): typeof secrets {
    const bin = join(folder, 'bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'kubectl'), '#!/bin/sh\n', { mode: 0o755 }); // only its files are wanted
    const made = join(folder, 'made');
    execFileSync(join(deploy, 'secrets.sh'), [made], { env: { ...process.env, PATH: `${bin}:${process.env.PATH}` } });
    const read = (name: string) => readFileSync(join(made, name), 'utf8');
    const tls = (name: string) => ({ 'tls.crt': read(`${name}.crt`), 'tls.key': read(`${name}.key`), 'ca.crt': read('ca.crt') });
    return {
      'chancery-database': { url: postgres.url, 'owner-url': postgres.ownerUrl },
      'chancery-api-tls': tls('api'),
      'chancery-worker-tls': tls('worker'),
      'chancery-agent-tls': tls('agent'),
      'chancery-keys': { 'keys.json': read('keys.json') },
    };
  }

  /** What differs from the manifests: ports, and where Kubernetes is. */
  function ownVariables(): Record<string, string> {
    return {
      CHANCERY_API_LISTEN: `127.0.0.1:${ports.api}`,
      CHANCERY_WORKER_LISTEN: `127.0.0.1:${ports.worker}`,
      CHANCERY_WORKER_METRICS_LISTEN: `127.0.0.1:${ports.workerMetrics}`,
      CHANCERY_PROJECTOR_METRICS_LISTEN: `127.0.0.1:${ports.projectorMetrics}`,
      CHANCERY_AGENT_WORKER: `chancery-worker.chancery.svc:${ports.worker}`,
      CHANCERY_AGENT_HTTP_LISTEN: `127.0.0.1:${ports.http}`,
      CHANCERY_AGENT_HTTPS_LISTEN: `127.0.0.1:${ports.https}`,
      CHANCERY_DEMO_LISTEN: `${ownAddress()}:${ports.demo}`,
    };
  }

  /** Starts the container of this object's pod; with `words`, another process in the image with all else the same, as `kubectl exec` does. */
  function start(name: string, words?: readonly string[]): Container {
    const object = objects.find(({ kind, metadata }) => ['Deployment', 'StatefulSet', 'Job'].includes(kind) && metadata.name === name);
    const pod = object === undefined ? undefined : podOf(object);
    const [container] = pod?.containers ?? [];
    if (pod === undefined || container === undefined) throw new Error(`the manifests have no ${name}`);
    const own = ownVariables();
    const env = Object.fromEntries(
      (container.env ?? []).map(({ name: variable, value, valueFrom }) => {
        const secret = valueFrom?.secretKeyRef;
        const given = secret === undefined ? (value ?? `${name}-0`) : secrets[secret.name]?.[secret.key];
        if (given === undefined) throw new Error(`${variable}: there is no such Secret`);
        return [variable, own[variable] ?? given];
      }),
    );
    const toldOfKubernetes = name === 'chancery-worker' ? { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: '1' } : {};
    return new Container({
      image,
      stage,
      words: words ?? container.command ?? ['/nodejs/bin/node', ...(container.args ?? [])],
      env: { ...env, ...toldOfKubernetes },
      mounts: (container.volumeMounts ?? []).map((mount) => mountOf(name, pod, mount)),
    });
  }

  function mountOf(name: string, pod: PodSpec, mount: VolumeMount): ContainerMount {
    const volume = (pod.volumes ?? []).find((one) => one.name === mount.name);
    const { mountPath: path, readOnly = false } = mount;
    if (volume !== undefined && volume.secret === undefined) return { path };
    const disk = join(folder, `${name}-${mount.name}`);
    if (volume?.secret === undefined) {
      mkdirSync(disk, { recursive: true });
      chownSync(disk, GROUP, GROUP);
      return { path, folder: disk };
    }
    writeMountedSecret(disk, secrets[volume.secret.secretName] ?? {}, GROUP);
    return { path, folder: disk, readOnly };
  }

  function keep(name: string): void {
    running.set(name, start(name));
  }

  async function ready(name: string, ask: () => Promise<number>): Promise<void> {
    const isReady = () =>
      ask().then(
        (status) => status === 200,
        () => false,
      );
    await eventually(`${name} is ready`, isReady, 60_000).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}\n${running.get(name)?.log}`);
    });
  }

  /** A request to the admin interface, which is trusted by its certificate as a person's curl does. */
  function admin(path: string, options: { method?: string; body?: object } = {}): Promise<{ status: number; text: string }> {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const where = {
      host: '127.0.0.1',
      port: ports.api,
      servername: 'chancery-api.chancery.svc',
      ca: secrets['chancery-api-tls']?.['ca.crt'],
    };
    return new Promise((resolve, reject) => {
      const asked = request({ ...where, path, method: options.method ?? 'GET', headers, agent: false }, async (answer) => {
        const chunks: Buffer[] = [];
        for await (const chunk of answer as AsyncIterable<Buffer>) chunks.push(chunk);
        resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(chunks).toString() });
      });
      asked.once('error', reject);
      asked.end(options.body === undefined ? undefined : JSON.stringify(options.body));
    });
  }

  test('is the user of the manifests on a root that it cannot write, and has nothing that is only for development', async () => {
    expect(stage.user).toBe('65532:65532');
    const script = `const fs = require('node:fs');
      const attempt = (path) => { try { fs.writeFileSync(path, 'x'); return 'written'; } catch (error) { return error.code; } };
      console.log(JSON.stringify({ uid: process.getuid(), pid: process.pid, cwd: process.cwd(), app: attempt('/app/dist/x'), etc: attempt('/etc/x'), tmp: attempt('/tmp/x') }));`;
    const { status, output, log } = await start('chancery-api', ['/nodejs/bin/node', '-e', script]).done();
    expect({ status, log, ...(JSON.parse(output || '{}') as object) }).toEqual({
      ...{ status: 0, log: '', uid: 65_532, pid: 1, cwd: '/app' },
      ...{ app: 'EROFS', etc: 'EROFS', tmp: 'written' },
    });
    const found = spawnSync('find', [image, '-name', '*.spec.js', '-path', '*/dist/*', '-o', '-path', '*/node_modules/jest']);
    expect(found.stdout.toString()).toBe('');
  });

  test('migrates, and each process of it becomes ready; a token is made as docs/kubernetes.md says', async () => {
    const job = objects.find(({ kind }) => kind === 'Job') as Manifest;
    const { status, log } = await start(job.metadata.name).done();
    expect({ status, log }).toMatchObject({ status: 0 });
    for (const name of ['chancery-api', 'chancery-projector', 'chancery-worker']) keep(name);
    await ready('chancery-api', async () => (await admin('/readyz')).status);
    await ready('chancery-projector', async () => (await send(`http://127.0.0.1:${ports.projectorMetrics}/readyz`)).status);
    await ready('chancery-worker', async () => (await send(`http://127.0.0.1:${ports.workerMetrics}/readyz`)).status);
    const command = (...words: string[]) =>
      start('chancery-api', ['/nodejs/bin/node', 'dist/apps/cli/src/main.js', 'token', 'create', ...words]);
    const made = await command('--scopes', 'admin,deploy,read,write', '--name', 'first').done();
    token = made.output.trim().split('\n').at(-1) ?? '';
    const agents = await command('--scopes', 'agent:*', '--expires', '90d', '--name', 'edge').done();
    secrets['chancery-agent-token'] = { token: agents.output.trim().split('\n').at(-1) ?? '' };
    expect((await admin('/v1/gateways/default/mappings')).status).toBe(200);
  });

  test('its edge, with the launcher as process 1, serves what one POST maps; each ends well by SIGTERM', async () => {
    keep('gruesvc');
    keep('chancery-edge');
    const body = { prefix: '/grue/', service: `${ownAddress()}:${ports.demo}`, rewrite: '/grue/' };
    expect(await admin('/ambassador/mapping/grue', { method: 'POST', body })).toMatchObject({ status: 200 });
    await ready('chancery-edge', async () => (await send(`http://127.0.0.1:${ports.http}/grue/health`)).status);
    for (const name of ['chancery-edge', 'gruesvc', 'chancery-worker', 'chancery-projector', 'chancery-api']) {
      const container = running.get(name);
      expect({ name, status: await container?.stop() }).toEqual({ name, status: 0 });
      running.delete(name);
    }
  });
});
