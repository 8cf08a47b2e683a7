import { type ApiAccess, ApiConnection } from '#platform/kubernetes/api-connection.js';
import { FakeApi } from '#platform/kubernetes/fake-api.fixture.js';

import { RealApi } from './real-api.js';

/** An API server of Kubernetes, real or not, and what a test does to it. */
export interface ApiUnderTest {
  readonly access: ApiAccess;
  readonly port: number;
  /** As the same user, through another port of this machine. */
  accessThrough(port: number): ApiAccess;
  /** The versions until now can no longer be watched from. */
  forget(): Promise<void>;
  kill(): Promise<void>;
  restart(): Promise<void>;
  dispose(): Promise<void>;
}

/** Those that there are here: the fake always, the real one where its binaries are. */
export function apisUnderTest(what: string): readonly (readonly [string, () => Promise<ApiUnderTest>])[] {
  return RealApi.isHere(what)
    ? [
        ['the fake', startFake],
        ['kube-apiserver', startReal],
      ]
    : [['the fake', startFake]];
}

async function startFake(): Promise<ApiUnderTest> {
  const fake = await FakeApi.start();
  const port = Number(new URL(fake.access.server).port);
  return {
    access: fake.access,
    port,
    accessThrough: (other) => ({ ...fake.access, server: `http://127.0.0.1:${other}` }),
    forget: async () => fake.objects.compact(),
    kill: () => fake.stop(),
    restart: () => fake.start(),
    dispose: () => fake.stop(),
  };
}

async function startReal(): Promise<ApiUnderTest> {
  const real = await RealApi.start();
  const access = real.access('admin-token');
  return {
    access,
    port: real.port,
    accessThrough: (other) => ({ ...access, server: `https://127.0.0.1:${other}` }),
    // A server that starts has the history from then on.
    forget: async () => {
      await real.kill();
      await real.restart();
    },
    kill: () => real.kill(),
    restart: () => real.restart(),
    dispose: () => real.dispose(),
  };
}

/** Objects, as a person with `kubectl` makes and changes them. */
export class ClusterObjects {
  readonly #connection: ApiConnection;

  constructor(access: ApiAccess) {
    this.#connection = new ApiConnection(access);
  }

  close(): void {
    this.#connection.close();
  }

  async namespace(name: string): Promise<void> {
    await this.call('POST', '/api/v1/namespaces', { metadata: { name } });
  }

  async service(key: string, spec: object, more: object = {}): Promise<void> {
    const { namespace, name } = split(key);
    await this.call('POST', `/api/v1/namespaces/${namespace}/services`, { metadata: { name, ...more }, spec });
  }

  /** A slice of `service`, in its namespace. */
  async slice(key: string, service: string, slice: object): Promise<void> {
    const { namespace, name } = split(key);
    await this.call('POST', `${slicesOf(namespace)}`, sliceObject(name, service, slice));
  }

  async changeSlice(key: string, patch: object): Promise<void> {
    const { namespace, name } = split(key);
    await this.call('PATCH', `${slicesOf(namespace)}/${name}`, patch);
  }

  async deleteSlice(key: string): Promise<void> {
    const { namespace, name } = split(key);
    await this.call('DELETE', `${slicesOf(namespace)}/${name}`);
  }

  async deleteService(key: string): Promise<void> {
    const { namespace, name } = split(key);
    await this.call('DELETE', `/api/v1/namespaces/${namespace}/services/${name}`);
  }

  call<T = unknown>(method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, body?: object): Promise<T> {
    return this.#connection.json<T>({ method, path, ...(body === undefined ? {} : { body }) });
  }
}

function sliceObject(name: string, service: string, slice: object): object {
  return { metadata: { name, labels: { 'kubernetes.io/service-name': service } }, addressType: 'IPv4', ...slice };
}

function slicesOf(namespace: string): string {
  return `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`;
}

function split(key: string): { namespace: string; name: string } {
  const [namespace = '', name = ''] = key.split('/');
  return { namespace, name };
}
