import type { GatewaySettings } from '#features/gateway/gateway.js';
import type { ServiceReference } from '#features/mapping/service-reference.js';
import type { XdsResource } from '#platform/xds/xds-resource.js';

/** One upstream as a cluster whose endpoints come over the same stream (EDS over ADS). */
export function clusterResource(_name: string, _service: ServiceReference): XdsResource {
  throw new Error('not yet');
}

/**
 * The endpoints of a cluster; every cluster has such a resource, also one without endpoints. Addresses that no service may have are left out,
 * and the order of discovery does not show.
 */
export function endpointResource(
  _cluster: string,
  _endpoints: readonly { readonly address: string; readonly port: number }[],
  _settings: Pick<GatewaySettings, 'allowLoopbackUpstreams'>,
): XdsResource {
  throw new Error('not yet');
}

/** What https upstreams are checked against: the public authorities that this build of Node carries. */
export function trustResource(): XdsResource {
  throw new Error('not yet');
}
