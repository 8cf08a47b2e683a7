import type { DiscoveredFilter, HttpConnectionManager, Listener } from '#platform/envoy/model/bootstrap.js';
import { PROOF_HEADER } from '#platform/envoy/model/reserved.js';
import type { Route, VirtualHost } from '#platform/envoy/model/route.js';

import { clientFilter, discoveredClientFilter } from './client-check.envoy.js';
import type { ListenAddress } from './gateway.js';
import { hardened, type ListenerParts, router, toListener } from './listener.envoy.js';
import { misdirectedRoute, redirectRoute, toRouteConfiguration } from './routes.envoy.js';
import { type ChainKind, clientDetails, type TlsParts, toTlsListener } from './tls-listener.envoy.js';
import { covers, type TlsPolicy } from './tls-policy.js';

/** What the listeners of a fully static configuration are made of. */
export interface StaticListenerParts extends ListenerParts {
  readonly http: ListenAddress;
  /** Where TLS is taken; null: nowhere. */
  readonly https: ListenAddress | null;
  readonly policy: TlsPolicy;
  /** Undefined: there is no certificate, and so no listener with TLS. */
  readonly tls: TlsParts | undefined;
  readonly virtualHosts: readonly VirtualHost[];
  /** What stands before everything in every virtual host. */
  readonly reserved: readonly Route[];
  readonly validateClusters: boolean;
}

/** The listeners, each chain with the routes that it may serve. */
export function toStaticListeners(parts: StaticListenerParts): Listener[] {
  const { http, https, policy, tls, virtualHosts, reserved } = parts;
  const any = (route: Route): VirtualHost[] => [{ name: 'any', domains: ['*'], routes: [...reserved, route] }];
  const open = withoutDemanded(virtualHosts, policy.clientCertificates?.hosts ?? [], reserved);
  const plain = policy.redirectHttp ? any(redirectRoute(policy.redirectPort ?? https?.port ?? 443)) : open;
  const manager = (hosts: readonly VirtualHost[], before: readonly DiscoveredFilter[] = []): HttpConnectionManager => ({
    ...hardened(parts),
    // Clusters of a file are loaded after the routes are checked; the compiler names no other than its own.
    route_config: toRouteConfiguration('routes', hosts, { validateClusters: parts.validateClusters, ownHeaders: [PROOF_HEADER] }),
    http_filters: [...before, router],
  });
  const first = toListener('http', http, manager(plain));
  if (https === null || tls === undefined) return [first];
  const source = policy.clientCertificates?.principals === true ? tls.source(clientFilter) : undefined;
  const checks = source === undefined ? [] : [discoveredClientFilter(source)];
  const managerOf = (kind: ChainKind) => (kind === 'clients' ? manager(virtualHosts, checks) : manager(open));
  return [first, toTlsListener(https, tls, (kind) => ({ ...managerOf(kind), ...clientDetails(policy, kind) }))];
}

/** The hosts of a connection without a client's certificate: those that demand one answer 421. */
function withoutDemanded(hosts: readonly VirtualHost[], demanded: readonly string[], reserved: readonly Route[]): readonly VirtualHost[] {
  if (demanded.length === 0) return hosts;
  const kept = hosts.filter(({ domains }) => !domains.some((domain) => demanded.some((pattern) => covers(pattern, domain))));
  const misdirected = { name: 'chancery-misdirected', domains: [...demanded].sort(), routes: [...reserved, misdirectedRoute] };
  return demanded.includes('*') ? [{ ...misdirected, domains: ['*'] }] : [misdirected, ...kept];
}
