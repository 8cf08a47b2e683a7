import type { ServiceReference } from '../mapping/service-reference.js';

import type { ClusterAnswer } from './cluster-service.js';
import { NOT_LOOKED_UP } from './known-services.table.js';

/** Where one instance of a service listens. `address` is an IP literal. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** A static list: by name, or by name and port (`usersvc:8080`), which wins. */
export type ServiceList = Readonly<Record<string, readonly Endpoint[]>>;

type Source = 'settings' | 'file' | 'address' | 'kubernetes' | 'dns';

/** What was found for one service. No endpoints: `error` says why when there is a reason. */
export interface Found {
  readonly source: Source;
  readonly endpoints: readonly Endpoint[];
  readonly error: string;
}

/** What is known of a name in DNS; undefined when it was never asked for. */
export interface DnsAnswer {
  readonly addresses: readonly string[];
  readonly error: string;
}

type Wanted = Pick<ServiceReference, 'name' | 'port' | 'ipVersion'>;

/**
 * Finds the endpoints of a service in the order of the sources: the gateway's settings, the services file, the reference itself
 * when it is an IP literal, Kubernetes, DNS. The first source that knows the name decides, even if it lists no endpoint.
 * `refuse` says why an address may not be an upstream; what it refuses is left out and named in `error`.
 */
export function resolve(
  wanted: Wanted,
  lists: {
    readonly settings: ServiceList;
    readonly file: ServiceList;
    cluster?(name: string, port: number): ClusterAnswer | undefined;
    dns(name: string): DnsAnswer | undefined;
  },
  refuse: (endpoint: Endpoint) => string | undefined,
): Found {
  for (const source of ['settings', 'file'] as const) {
    const listed = own(lists[source], `${wanted.name}:${wanted.port}`) ?? own(lists[source], wanted.name);
    if (listed !== undefined) return filtered(source, listed, '', refuse);
  }
  if (wanted.ipVersion !== 0) return filtered('address', [{ address: wanted.name, port: wanted.port }], '', refuse);
  const cluster = lists.cluster?.(wanted.name, wanted.port);
  if (cluster?.decides) return filtered('kubernetes', cluster.endpoints, cluster.error, refuse);
  const answer = lists.dns(wanted.name);
  const endpoints = (answer?.addresses ?? []).map((address) => ({ address, port: wanted.port }));
  if (answer === undefined) return filtered('dns', [], NOT_LOOKED_UP, refuse);
  // Where nobody knows the name, each says so.
  const error = answer.error === '' || cluster === undefined ? answer.error : `${cluster.error} ${answer.error}`;
  return filtered('dns', endpoints, error, refuse);
}

function own(list: ServiceList, name: string): readonly Endpoint[] | undefined {
  return Object.hasOwn(list, name) ? list[name] : undefined;
}

function filtered(
  source: Source,
  endpoints: readonly Endpoint[],
  error: string,
  refuse: (endpoint: Endpoint) => string | undefined,
): Found {
  const refused: string[] = [];
  const allowed = endpoints.filter((endpoint) => {
    const reason = refuse(endpoint);
    if (reason !== undefined) refused.push(reason);
    return reason === undefined;
  });
  return { source, endpoints: sorted(allowed), error: [...refused, ...(error === '' ? [] : [error])].join(' ') };
}

/** Equal sets give equal lists: the order in which DNS answers means nothing and must not make a push. */
function sorted(endpoints: readonly Endpoint[]): Endpoint[] {
  const byText = new Map(endpoints.map((endpoint) => [`${endpoint.address} ${endpoint.port}`, endpoint]));
  return [...byText].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, endpoint]) => endpoint);
}
