import { rootCertificates } from 'node:tls';
import type { GatewaySettings } from '#features/gateway/gateway.js';
import { assignment, type Endpoint, reachable, streamedCluster, trustName, trustSecret } from '#features/mapping/mapping-cluster.envoy.js';
import type { Upstream } from '#features/mapping/upstream-tls.js';
import { clusterMessage, loadAssignmentMessage } from '#platform/envoy/wire/cluster-messages.js';
import { encode, type Message } from '#platform/envoy/wire/message-fields.js';
import { secretMessage } from '#platform/envoy/wire/tls-messages.js';
import { sha256Hex } from '#platform/kernel/digest.js';
import { CLUSTER_TYPE, ENDPOINT_TYPE, type ResourceKey, SECRET_TYPE, type XdsResource } from '#platform/xds/xds-resource.js';

/** One upstream as a cluster whose endpoints come over the same stream (EDS over ADS). */
export function clusterResource(name: string, service: Upstream): XdsResource {
  return toResource({ typeUrl: CLUSTER_TYPE, name }, clusterMessage, streamedCluster(name, service));
}

/**
 * The endpoints of a cluster; every cluster has such a resource, also one without endpoints. Addresses that no service may have are left out,
 * and the order of discovery does not show.
 */
export function endpointResource(
  cluster: string,
  endpoints: readonly Endpoint[],
  settings: Pick<GatewaySettings, 'allowLoopbackUpstreams'>,
): XdsResource {
  const allowed = reachable(endpoints, settings.allowLoopbackUpstreams);
  return toResource({ typeUrl: ENDPOINT_TYPE, name: cluster }, loadAssignmentMessage, assignment(cluster, allowed));
}

let publicTrust: XdsResource | undefined;

/** What an https upstream is checked against: its own bundle, or the public authorities that this build of Node carries. */
export function trustResource(service: Upstream): XdsResource {
  const name = trustName(service);
  const bundle = service.tls?.caBundle ?? null;
  const made = () =>
    toResource({ typeUrl: SECRET_TYPE, name }, secretMessage, trustSecret(bundle === null ? rootCertificates : [bundle], name));
  if (bundle !== null) return made();
  publicTrust ??= made();
  return publicTrust;
}

/** A resource that names no cluster. */
export function toResource<T>(key: ResourceKey, type: Message<T>, model: T): XdsResource {
  const value = encode(type, model);
  return { ...key, version: sha256Hex(value), value, needs: [] };
}
