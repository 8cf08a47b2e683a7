import { generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { StartedProcess, untilSo } from '../machine/started-process.js';
import { order } from './contender.js';

/** A real kube-apiserver on its own etcd, as `KUBEBUILDER_ASSETS` has them. Nothing else of Kubernetes runs: no kubelet, no controllers. */
export class KubeApi {
  static readonly #port = 26443;
  static readonly #etcdPort = 23790;
  readonly #etcd: StartedProcess;
  readonly #api: StartedProcess;

  private constructor(etcd: StartedProcess, api: StartedProcess) {
    this.#etcd = etcd;
    this.#api = api;
  }

  static missing(): string | undefined {
    const folder = process.env.KUBEBUILDER_ASSETS;
    if (folder === undefined) return 'KUBEBUILDER_ASSETS is not set: the folder with etcd and kube-apiserver';
    const lacking = ['etcd', 'kube-apiserver'].find((name) => !existsSync(join(folder, name)));
    return lacking === undefined ? undefined : `no ${lacking} in KUBEBUILDER_ASSETS; bench/peers/build.sh makes it`;
  }

  static async start(folder: string): Promise<KubeApi> {
    const assets = process.env.KUBEBUILDER_ASSETS ?? '';
    const run = join(folder, 'kube');
    mkdirSync(run);
    const key = join(run, 'sa.key');
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    writeFileSync(key, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    writeFileSync(join(run, 'tokens.csv'), 'admin-token,admin,1,"system:masters"\n');
    const etcdUrl = `http://127.0.0.1:${KubeApi.#etcdPort}`;
    const etcd = new StartedProcess({
      command: join(assets, 'etcd'),
      words: [
        ...['--data-dir', join(run, 'etcd'), '--listen-client-urls', etcdUrl, '--advertise-client-urls', etcdUrl],
        ...['--listen-peer-urls', 'http://127.0.0.1:0', '--quota-backend-bytes', '4294967296'],
      ],
      ...{ folder: run, name: 'etcd' },
    });
    const options = {
      'etcd-servers': etcdUrl,
      'cert-dir': join(run, 'certs'),
      'bind-address': '127.0.0.1',
      'secure-port': KubeApi.#port,
      'service-cluster-ip-range': '10.0.0.0/24',
      'service-account-issuer': 'https://localhost',
      'service-account-key-file': key,
      'service-account-signing-key-file': key,
      'api-audiences': 'api',
      'token-auth-file': join(run, 'tokens.csv'),
      'authorization-mode': 'RBAC',
      'disable-admission-plugins': 'ServiceAccount',
      'allow-privileged': true,
      // A network without a route to anywhere has no address of its own to advertise.
      'advertise-address': '192.0.2.1',
      'endpoint-reconciler-type': 'none',
    };
    const api = new StartedProcess({
      command: join(assets, 'kube-apiserver'),
      words: Object.entries(options).map(([name, value]) => `--${name}=${value}`),
      ...{ folder: run, name: 'kube-apiserver' },
    });
    const kube = new KubeApi(etcd, api);
    const isReady = () =>
      kube.call('GET', '/readyz').then(
        (text) => text === 'ok',
        () => false,
      );
    await untilSo('the kube-apiserver is ready', isReady, { of: api, everyMs: 100 });
    return kube;
  }

  get pids(): number[] {
    return [this.#etcd.pid, this.#api.pid];
  }

  /** For clients that read one. */
  get kubeconfig(): string {
    return JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'bench',
      clusters: [{ name: 'bench', cluster: { server: `https://127.0.0.1:${KubeApi.#port}`, 'insecure-skip-tls-verify': true } }],
      users: [{ name: 'admin', user: { token: 'admin-token' } }],
      contexts: [{ name: 'bench', context: { cluster: 'bench', user: 'admin' } }],
    });
  }

  /** Creates what is not there; what is, stays. @throws Error with the answer. */
  call(method: string, path: string, object?: unknown): Promise<string> {
    return order(`https://127.0.0.1:${KubeApi.#port}${path}`, {
      method,
      headers: {
        authorization: 'Bearer admin-token',
        'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
      },
      ...(object === undefined ? {} : { body: JSON.stringify(object) }),
      also: method === 'POST' ? [409] : [],
    });
  }

  async stop(): Promise<void> {
    await this.#api.stop();
    await this.#etcd.stop();
  }
}
