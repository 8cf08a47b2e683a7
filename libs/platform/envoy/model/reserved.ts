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
