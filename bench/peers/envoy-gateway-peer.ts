import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';

import { StartedProcess, untilSo } from '../machine/started-process.js';
import { startEnvoy } from './bare-envoy.js';
import { type Contender, missingPeerBinary, type Peer, pathOf, peerBinary, routeHeader, type Site } from './contender.js';
import { controllerConfig, GATEWAY_PORT, gatewayObjects, httpRoute, routesPath } from './envoy-gateway-objects.js';
import { KubeApi } from './kube-api.js';
import { untilServing } from './probe.js';

const NAMESPACE = 'envoy-gateway-system';
/** Where its Kubernetes provider reads its certificates, and nowhere else. */
const CERTIFICATES = '/certs';

/**
 * Envoy Gateway with its Kubernetes provider on a real kube-apiserver and etcd (fsync on). Nobody runs the Deployment that it makes, so its Envoy is started here with
 * the arguments that the Deployment says, and the bench's own binary.
 */
export const envoyGateway: Peer = {
  name: 'envoy-gateway',
  note: 'its Kubernetes provider on a real kube-apiserver with etcd: one HTTPRoute by POST, PATCH, DELETE',
  mostRoutes: 10_000,
  missing({ ownAddress }) {
    if (ownAddress === undefined) return 'it refuses loopback backends and has fixed ports: needs a network of its own (Linux, root)';
    if (existsSync(CERTIFICATES) && !lstatSync(CERTIFICATES).isSymbolicLink()) return `it reads ${CERTIFICATES}, which is in use`;
    return missingPeerBinary('envoy-gateway') ?? missingPeerBinary('envoy-gateway-crds') ?? KubeApi.missing();
  },
  start: startEnvoyGateway,
};

export interface RestartableGateway extends Contender {
  /** Ends the controller without a warning, waits for `meanwhile`, and starts it again. Envoy and the kube-apiserver go on. */
  restart(meanwhile: () => Promise<void>): Promise<void>;
}

export async function startEnvoyGateway(site: Site): Promise<RestartableGateway> {
  const { folder } = site;
  const kube = await KubeApi.start(folder);
  let [controller, envoy]: (StartedProcess | undefined)[] = [];
  const stop = async () => {
    await envoy?.stop();
    await controller?.stop();
    await kube.stop();
    rmSync(CERTIFICATES, { force: true });
  };
  try {
    await createDefinitions(kube);
    await createObjects(kube, site);
    prepareController(kube, folder);
    controller = runController(folder);
    const words = await envoyArguments(kube, controller);
    envoy = startEnvoy(site, 'envoy-gateway.yaml', prepareEnvoy(folder, words));
    const contender: RestartableGateway = {
      host: '127.0.0.1',
      port: GATEWAY_PORT,
      answer: routeHeader,
      create: (route, revision) => kube.call('POST', routesPath, httpRoute(route, revision)).then(() => undefined),
      update: (route, revision) => kube.call('PATCH', `${routesPath}/svc${route}`, httpRoute(route, revision)).then(() => undefined),
      remove: (route) => kube.call('DELETE', `${routesPath}/svc${route}`).then(() => undefined),
      get control() {
        return [controller?.pid ?? 0, ...kube.pids];
      },
      data: [envoy.pid],
      stop,
      async restart(meanwhile) {
        await controller?.stop('SIGKILL');
        await meanwhile();
        controller = runController(folder);
      },
    };
    await untilServing(contender, { route: site.routes - 1, path: pathOf(site.routes - 1) });
    return contender;
  } catch (error) {
    await stop();
    throw error;
  }
}

async function createDefinitions(kube: KubeApi): Promise<void> {
  const folder = peerBinary('envoy-gateway-crds') ?? '';
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.yaml'));
  const kinds: { group: string; plural: string; version: string }[] = [];
  for (const file of files) {
    for (const document of parseAllDocuments(readFileSync(join(folder, file), 'utf8'))) {
      const definition = document.toJS() as {
        kind?: string;
        spec: { group: string; names: { plural: string }; versions: { name: string; served: boolean }[] };
      } | null;
      if (definition?.kind !== 'CustomResourceDefinition') continue;
      await kube.call('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', definition);
      const { group, names, versions } = definition.spec;
      kinds.push({ group, plural: names.plural, version: versions.find(({ served }) => served)?.name ?? '' });
    }
  }
  for (const { group, plural, version } of kinds) {
    const isServed = () =>
      kube.call('GET', `/apis/${group}/${version}/${plural}?limit=1`).then(
        () => true,
        () => false,
      );
    await untilSo(`${plural} are served`, isServed, { everyMs: 50 });
  }
}

async function createObjects(kube: KubeApi, { routes, ownAddress = '', upstreamPort }: Site): Promise<void> {
  const { proxy, gatewayClass, gateway, backend } = gatewayObjects({ address: ownAddress, port: upstreamPort });
  const [own, standard] = ['/apis/gateway.envoyproxy.io/v1alpha1/namespaces/default', '/apis/gateway.networking.k8s.io/v1'];
  await kube.call('POST', '/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } });
  await kube.call('POST', `${own}/envoyproxies`, proxy);
  await kube.call('POST', `${standard}/gatewayclasses`, gatewayClass);
  await kube.call('POST', `${standard}/namespaces/default/gateways`, gateway);
  await kube.call('POST', `${own}/backends`, backend);
  let next = 0;
  const create = async () => {
    while (next < routes) {
      next += 1;
      await kube.call('POST', routesPath, httpRoute(next - 1, 'v0'));
    }
  };
  await Promise.all(Array.from({ length: 8 }, create));
}

const controllerEnvironment = (folder: string) => ({
  KUBECONFIG: join(folder, 'kubeconfig'),
  ENVOY_GATEWAY_NAMESPACE: NAMESPACE,
  HOME: folder,
});

function prepareController(kube: KubeApi, folder: string): void {
  const binary = peerBinary('envoy-gateway') ?? '';
  writeFileSync(join(folder, 'kubeconfig'), kube.kubeconfig, { mode: 0o600 });
  const env = controllerEnvironment(folder);
  const run = (...words: string[]) => execFileSync(binary, words, { env: { ...env, PATH: process.env.PATH ?? '' }, stdio: 'pipe' });
  run('certgen', '--local', '--config-home', join(folder, 'home'));
  run('certgen', '--disable-topology-injector');
  rmSync(CERTIFICATES, { force: true });
  symlinkSync(join(folder, 'home/certs/envoy-gateway'), CERTIFICATES);
  const kubernetes = { leaderElection: { disable: true }, topologyInjector: { disabled: true } };
  writeFileSync(join(folder, 'controller.yaml'), JSON.stringify(controllerConfig({ type: 'Kubernetes', kubernetes })));
}

function runController(folder: string): StartedProcess {
  return new StartedProcess({
    command: peerBinary('envoy-gateway') ?? '',
    words: ['server', '--config-path', join(folder, 'controller.yaml')],
    ...{ folder, name: 'envoy-gateway', env: controllerEnvironment(folder) },
  });
}

/** The arguments of Envoy in the Deployment that the controller makes. */
async function envoyArguments(kube: KubeApi, controller: StartedProcess): Promise<readonly string[]> {
  let words: readonly string[] = [];
  const path = `/apis/apps/v1/namespaces/${NAMESPACE}/deployments?labelSelector=gateway.envoyproxy.io/owning-gateway-name%3Deg`;
  const isMade = async () => {
    const { items } = JSON.parse(await kube.call('GET', path)) as {
      items: { spec: { template: { spec: { containers: { name: string; args: string[] }[] } } } }[];
    };
    words = items[0]?.spec.template.spec.containers.find(({ name }) => name === 'envoy')?.args ?? [];
    return words.length > 0;
  };
  await untilSo('Envoy Gateway makes its Deployment', isMade, { of: controller, everyMs: 100, deadlineMs: 600_000 });
  return words;
}

/** Writes the bootstrap of those arguments, with the addresses of this machine in place of a cluster's. @returns the other arguments */
function prepareEnvoy(folder: string, words: readonly string[]): readonly string[] {
  const value = (name: string) => {
    const at = words.findIndex((word) => word === name || word.startsWith(`${name}=`) || word.startsWith(`${name} `));
    return words[at] === name ? (words[at + 1] ?? '') : (words[at] ?? '').slice(name.length + 1);
  };
  const secrets = join(folder, 'sds');
  mkdirSync(secrets);
  const certificates = join(folder, 'home/certs/envoy');
  const secret = (name: string, content: object) =>
    writeFileSync(
      join(secrets, `${name.replaceAll('_', '-')}.json`),
      JSON.stringify({
        resources: [{ '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret', name, ...content }],
      }),
    );
  const names = [{ san_type: 'DNS', matcher: { exact: 'envoy-gateway' } }];
  secret('xds_trusted_ca', {
    validation_context: { trusted_ca: { filename: join(certificates, 'ca.crt') }, match_typed_subject_alt_names: names },
  });
  secret('xds_certificate', {
    tls_certificate: {
      certificate_chain: { filename: join(certificates, 'tls.crt') },
      private_key: { filename: join(certificates, 'tls.key') },
    },
  });
  const bootstrap = value('--config-yaml')
    .replace(/envoy-gateway\.envoy-gateway-system(\.svc\.cluster\.local\.?)?/g, '127.0.0.1')
    .replaceAll('/sds/', `${secrets}/`)
    .replaceAll('port_value: 19000', 'port_value: 19600')
    .replaceAll('port_value: 19001', 'port_value: 19601')
    .replaceAll('$(ENVOY_SERVICE_ZONE)', 'zone')
    .replaceAll('$(ENVOY_POD_NAMESPACE)', 'default');
  writeFileSync(join(folder, 'envoy-gateway.yaml'), bootstrap);
  return ['--service-cluster', value('--service-cluster'), '--service-node', 'pod1'];
}
