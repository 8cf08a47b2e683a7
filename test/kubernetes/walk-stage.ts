import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from '@jest/globals';

import type { ApiAccess } from '#platform/kubernetes/api-connection.js';
import { FakeApi } from '#platform/kubernetes/fake-api.fixture.js';

import { kubeconfigOf } from './cluster-house.js';
import { FakeKubectl } from './fake-kubectl.js';
import { missingTool, podOf, readManifests } from './manifests.js';
import { RealApi } from './real-api.js';

/** A cluster that the walkthrough of docs/kubernetes.md can be walked on. */
export interface WalkStage {
  readonly access: ApiAccess;
  /** What a shell needs for `kubectl` to mean this cluster. */
  readonly shell: Readonly<Record<string, string>>;
  /** What a worker is told, so that it looks at this cluster as its Deployment says; once the manifests are applied. */
  workerVariables(): Promise<Record<string, string>>;
  dispose(): Promise<void>;
}

interface Stage {
  readonly name: string;
  /** What is missing here for it; undefined: nothing. */
  readonly lacking: string | undefined;
  start(folder: string): Promise<WalkStage>;
}

export const walkStages: readonly Stage[] = [
  { name: 'the fake API server', lacking: missingTool('openssl'), start: startFake },
  {
    name: 'a real kube-apiserver',
    lacking: RealApi.missing() ?? missingTool('kubectl') ?? missingTool('openssl'),
    start: startReal,
  },
];

/** The real server and the real kubectl; the worker is the service account of the manifests. */
async function startReal(folder: string): Promise<WalkStage> {
  const api = await RealApi.start();
  writeFileSync(join(folder, 'kubeconfig'), api.kubeconfig());
  return {
    access: api.access('admin-token'),
    shell: { PATH: process.env.PATH ?? '', KUBECONFIG: join(folder, 'kubeconfig') },
    workerVariables: async () => ({
      ...toldToWorker(),
      KUBERNETES_SERVICE_HOST: '127.0.0.1',
      KUBERNETES_SERVICE_PORT: String(api.port),
      CHANCERY_KUBERNETES_ACCOUNT_DIR: await api.podFolder('chancery', 'chancery-worker'),
    }),
    dispose: () => api.dispose(),
  };
}

async function startFake(folder: string): Promise<WalkStage> {
  const api = await FakeApi.start();
  const kubectl = await FakeKubectl.start(api, folder);
  const kubeconfig = join(folder, 'worker-kubeconfig');
  writeFileSync(kubeconfig, await kubeconfigOf(api.access, folder));
  return {
    access: api.access,
    shell: { PATH: `${join(folder, 'bin')}:${process.env.PATH ?? ''}` },
    // It speaks plain HTTP, which no service account does.
    workerVariables: async () => ({ ...toldToWorker(), CHANCERY_KUBERNETES: 'kubeconfig', CHANCERY_KUBECONFIG: kubeconfig }),
    dispose: async () => {
      kubectl.stop();
      await api.stop();
    },
  };
}

/** What the worker's Deployment says of Kubernetes. */
function toldToWorker(): Record<string, string> {
  const worker = readManifests('base').find(({ kind, metadata }) => kind === 'Deployment' && metadata.name === 'chancery-worker');
  const env = (worker === undefined ? undefined : podOf(worker))?.containers[0]?.env ?? [];
  const told = env.filter(({ name }) => name.startsWith('CHANCERY_KUBERNETES')).map(({ name, value = '' }) => [name, value] as const);
  expect(told.length).toBeGreaterThanOrEqual(4);
  return Object.fromEntries(told);
}
