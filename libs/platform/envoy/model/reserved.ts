/**
 * What Chancery keeps for itself on every gateway. No mapping may claim it, and it is answered before any mapping.
 * File names are relative to the node's folder, which is Envoy's working directory.
 */
export const RESERVED_PREFIX = '/.well-known/chancery/';

/** Answers with the running release, to whoever knows the node's proof secret; 404 to everybody else. */
export const MARKER_PATH = '/.well-known/chancery/marker';

/** The request header that carries the proof secret. */
export const PROOF_HEADER = 'x-chancery-proof';

/** Headers with this prefix are ours: they cannot be matched by a mapping. */
export const RESERVED_HEADER_PREFIX = 'x-chancery-';

/** The response header of the marker: which release answered. */
export const RELEASE_HEADER = 'x-chancery-release';

/** The response header of a route that was set aside: its reason code. */
export const SET_ASIDE_HEADER = 'x-chancery-set-aside';

/** Envoy's administration interface: a Unix socket of mode 0600, never a port. */
export const ADMIN_SOCKET = 'admin.sock';

/** The file from which Envoy reads (and watches) the endpoints of one cluster. */
export function endpointFile(cluster: string): string {
  return `endpoints/${cluster}.json`;
}

/** What a shard of live delivery answers to who knows the proof secret: a hash of its content. Its key follows. */
export const SHARD_MARKER_PREFIX = '/.well-known/chancery/shard/';

/** The host of requests for markers. No mapping can have it. */
export const PROBE_HOST = '_chancery';

/** The request header that says which shard of the routes is asked; set within Envoy, whatever a client sent. */
export const SHARD_HEADER = 'x-chancery-shard';

/** The request header with the shards that are asked after it, separated by spaces; set within Envoy. */
export const NEXT_HEADER = 'x-chancery-next';

/** The socket on which an Envoy of live delivery finds what it is to serve, and the cluster that leads there. */
export const ADS_SOCKET = 'xds.sock';
export const ADS_CLUSTER = 'xds';

/** A cluster without endpoints: where a route leads that only says that a shard has none. */
export const NO_CLUSTER = 'chancery-none';
