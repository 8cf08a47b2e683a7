import { routeHeader } from './contender.js';

/** The objects of the Gateway API and of Envoy Gateway that its peers are made of: one Gateway, one Backend, an HTTPRoute for each route. */

export const GATEWAY_PORT = 8888;
export const routesPath = '/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes';

export function httpRoute(route: number, revision: string) {
  return {
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'HTTPRoute',
    metadata: { name: `svc${route}`, namespace: 'default' },
    spec: {
      parentRefs: [{ name: 'eg' }],
      rules: [
        {
          matches: [{ path: { type: 'PathPrefix', value: `/svc${route}` } }],
          filters: [
            {
              type: 'ResponseHeaderModifier',
              responseHeaderModifier: { set: [{ name: 'x-route', value: routeHeader(route, revision).slice('x-route: '.length).trim() }] },
            },
          ],
          backendRefs: [{ group: 'gateway.envoyproxy.io', kind: 'Backend', name: 'backend' }],
        },
      ],
    },
  };
}

export function gatewayObjects({ address, port, provider }: { address: string; port: number; provider?: unknown }) {
  const controller = 'gateway.envoyproxy.io/gatewayclass-controller';
  return {
    proxy: {
      apiVersion: 'gateway.envoyproxy.io/v1alpha1',
      kind: 'EnvoyProxy',
      metadata: { name: 'ep', namespace: 'default' },
      spec: {
        concurrency: 2,
        logging: { level: { default: 'error' } },
        telemetry: { accessLog: { disable: true } },
        ...(provider === undefined ? {} : { provider }),
      },
    },
    gatewayClass: {
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'GatewayClass',
      metadata: { name: 'eg' },
      spec: {
        controllerName: controller,
        parametersRef: { group: 'gateway.envoyproxy.io', kind: 'EnvoyProxy', name: 'ep', namespace: 'default' },
      },
    },
    gateway: {
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'Gateway',
      metadata: { name: 'eg', namespace: 'default' },
      spec: { gatewayClassName: 'eg', listeners: [{ name: 'http', protocol: 'HTTP', port: GATEWAY_PORT }] },
    },
    backend: {
      apiVersion: 'gateway.envoyproxy.io/v1alpha1',
      kind: 'Backend',
      metadata: { name: 'backend', namespace: 'default' },
      spec: { endpoints: [{ ip: { address, port } }] },
    },
  };
}

/** The configuration of the controller itself. */
export function controllerConfig(provider: unknown) {
  return {
    apiVersion: 'gateway.envoyproxy.io/v1alpha1',
    kind: 'EnvoyGateway',
    gateway: { controllerName: 'gateway.envoyproxy.io/gatewayclass-controller' },
    provider,
    logging: { level: { default: 'error' } },
    extensionApis: { enableBackend: true },
  };
}
