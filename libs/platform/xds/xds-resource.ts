/** Type URLs of Envoy's own resources, as far as Chancery delivers them. */
export const CLUSTER_TYPE = 'type.googleapis.com/envoy.config.cluster.v3.Cluster';
export const ENDPOINT_TYPE = 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment';
export const LISTENER_TYPE = 'type.googleapis.com/envoy.config.listener.v3.Listener';
/** Its route configuration stands within it, so that scope and routes are one resource and change together. */
export const SCOPED_ROUTE_TYPE = 'type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration';
/** HTTP filters by ECDS: an envoy.config.core.v3.TypedExtensionConfig. */
export const EXTENSION_TYPE = 'type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig';
export const SECRET_TYPE = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret';

export interface ResourceKey {
  readonly typeUrl: string;
  readonly name: string;
}

/** One of Envoy's resources, encoded once for every stream that it goes to. */
export interface XdsResource extends ResourceKey {
  /** SHA-256 of `value`, hexadecimal: equal bytes, equal version, on every worker and after every restart. */
  readonly version: string;
  /** What google.protobuf.Any.value holds. */
  readonly value: Buffer;
  /** Clusters that must be warm before Envoy may have this: those that its routes name. */
  readonly needs: readonly string[];
}

/** A change of a set of resources: all of it or nothing. A name is in one of the two lists at most. */
export interface ResourceChange {
  readonly upserts: readonly XdsResource[];
  readonly removed: readonly ResourceKey[];
}

/** One text per resource, for maps over several types. */
export function resourceId({ typeUrl, name }: ResourceKey): string {
  return `${typeUrl}/${name}`;
}
