import { type ChildProcess, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { waitUntil } from '#platform/envoy/wait-until.js';
import { type ApiAccess, ApiConnection } from '#platform/kubernetes/api-connection.js';
import { findFreePort } from '#platform/network/listening-port.js';

/**
 * A real kube-apiserver on its own etcd, as KUBEBUILDER_ASSETS or .cache/kube has them (`bench/peers/build.sh .cache kube etcd`). Nothing else of
 * Kubernetes runs: no kubelet, no controllers. RBAC is on; `admin` may do everything.
 */
export class RealApi {
  readonly folder: string;
  readonly port: number;
  readonly #etcd: ChildProcess;
  readonly #etcdUrl: string;
  #api: ChildProcess | undefined;

  private constructor(port: number, etcdPort: number) {
    this.port = port;
    this.folder = mkdtempSync(join(tmpdir(), 'chancery-kube-'));
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    writeFileSync(join(this.folder, 'sa.key'), privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    writeFileSync(join(this.folder, 'tokens.csv'), 'admin-token,admin,1,"system:masters"\n');
    const url = `http://127.0.0.1:${etcdPort}`;
    const words = ['--data-dir', 'etcd', '--listen-client-urls', url, '--advertise-client-urls', url];
    this.#etcd = this.#spawn('etcd', [...words, '--listen-peer-urls', 'http://127.0.0.1:0', '--unsafe-no-fsync']);
    this.#etcdUrl = url;
  }

  /** Why there is none here; undefined when there is. */
  static missing(): string | undefined {
    const folder = process.env.KUBEBUILDER_ASSETS;
    const built = '`bench/peers/build.sh .cache kube etcd kubectl helm kustomize` makes it';
    if (folder === undefined || folder === '') return `there is neither .cache/kube nor KUBEBUILDER_ASSETS (${built})`;
    const lacking = ['etcd', 'kube-apiserver'].find((name) => !existsSync(join(folder, name)));
    return lacking === undefined ? undefined : `there is no ${lacking} in ${folder} (${built})`;
  }

  /** True when there is one; otherwise says, where tests say what they did, that what needs it is not run. */
  static isHere(what: string): boolean {
    const reason = RealApi.missing();
    if (reason !== undefined) process.stderr.write(`not run against a real kube-apiserver: ${what}: ${reason}\n`);
    return reason === undefined;
  }

  static async start(): Promise<RealApi> {
    const taken = new Set<number>();
    const port = await findFreePort(taken);
    const api = new RealApi(port, await findFreePort(taken.add(port)));
    try {
      await api.restart();
      return api;
    } catch (error) {
      await api.dispose();
      throw error;
    }
  }

  /** Ends kube-apiserver at once; etcd goes on. */
  async kill(): Promise<void> {
    await end(this.#api);
    this.#api = undefined;
  }

  async restart(): Promise<void> {
    const options = {
      'etcd-servers': this.#etcdUrl,
      'cert-dir': 'certs',
      'bind-address': '127.0.0.1',
      'secure-port': this.port,
      'service-cluster-ip-range': '10.0.0.0/24,fd00:10:96::/112',
      'service-account-issuer': 'https://localhost',
      'service-account-key-file': 'sa.key',
      'service-account-signing-key-file': 'sa.key',
      'api-audiences': 'api',
      'token-auth-file': 'tokens.csv',
      'authorization-mode': 'RBAC',
      'disable-admission-plugins': 'ServiceAccount',
      'advertise-address': '192.0.2.1', // a network without a route to anywhere has no address of its own to advertise
      'endpoint-reconciler-type': 'none',
    };
    this.#api = this.#spawn(
      'kube-apiserver',
      Object.entries(options).map(([name, value]) => `--${name}=${value}`),
    );
    const connection = new ApiConnection(this.access('admin-token'));
    const isReady = () =>
      connection.open({ path: '/readyz' }).then(
        (answer) => answer.resume() !== undefined,
        () => null,
      );
    const ready = await waitUntil(isReady, { timeoutMs: 120_000, everyMs: 100 });
    connection.close();
    if (ready === null)
      throw new Error(`kube-apiserver is not ready: ${readFileSync(join(this.folder, 'kube-apiserver.log'), 'utf8').slice(-2_000)}`);
  }

  /** As somebody with this token. The server makes its own certificate, which is its own authority. */
  access(token: string): ApiAccess {
    return {
      server: `https://127.0.0.1:${this.port}`,
      credentials: async () => ({
        ca: readFileSync(join(this.folder, 'certs/apiserver.crt')),
        headers: { authorization: `Bearer ${token}` },
      }),
    };
  }

  kubeconfig(token = 'admin-token', namespace = 'default'): string {
    const server = `https://127.0.0.1:${this.port}`;
    const authority = join(this.folder, 'certs/apiserver.crt');
    return JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'test',
      clusters: [{ name: 'test', cluster: { server, 'certificate-authority': authority } }],
      users: [{ name: 'test', user: { token } }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'test', namespace } }],
    });
  }

  /** A folder as a pod of this service account finds it. */
  async podFolder(namespace: string, serviceAccount: string): Promise<string> {
    const connection = new ApiConnection(this.access('admin-token'));
    const { status } = await connection.json<{ status: { token: string } }>({
      method: 'POST',
      path: `/api/v1/namespaces/${namespace}/serviceaccounts/${serviceAccount}/token`,
      body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { audiences: ['api'] } },
    });
    connection.close();
    const folder = mkdtempSync(join(this.folder, 'pod-'));
    writeFileSync(join(folder, 'token'), status.token);
    writeFileSync(join(folder, 'namespace'), namespace);
    writeFileSync(join(folder, 'ca.crt'), readFileSync(join(this.folder, 'certs/apiserver.crt')));
    return folder;
  }

  async dispose(): Promise<void> {
    await this.kill();
    await end(this.#etcd);
    rmSync(this.folder, { recursive: true, force: true });
  }

  #spawn(name: string, words: readonly string[]): ChildProcess {
    const log = openSync(join(this.folder, `${name}.log`), 'a');
    return spawn(join(process.env.KUBEBUILDER_ASSETS ?? '', name), words, { cwd: this.folder, stdio: ['ignore', log, log] });
  }
}

async function end(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}
