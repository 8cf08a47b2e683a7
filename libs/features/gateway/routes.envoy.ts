import { literal } from '#platform/envoy/model/envoy-text.js';
import { MARKER_PATH, PROOF_HEADER, RELEASE_HEADER, RESERVED_PREFIX } from '#platform/envoy/model/reserved.js';
import type { Route, RouteConfiguration, VirtualHost } from '#platform/envoy/model/route.js';

/** What the marker route answers: the release that this configuration is. */
export interface Marker {
  readonly releaseId: string;
  readonly body: string;
}

/** By this name the marker's route is found in a bootstrap. */
export const markerRouteName = 'chancery-marker';
const noMarker: Marker = { releaseId: '', body: '' };

/** Envoy refuses a longer body of a direct response. */
const maxDirectResponseBytes = 4096;

/**
 * The routes that stand before every mapping in every virtual host: the marker, which answers only to the node's proof
 * secret, and 404 for all else under the reserved prefix.
 */
export function reservedRoutes(proofSecret: string, marker: Marker = noMarker): Route[] {
  return [
    markerRoute(proofSecret, marker),
    { name: 'chancery-reserved', match: { prefix: RESERVED_PREFIX }, direct_response: { status: 404 } },
  ];
}

export function markerRoute(proofSecret: string, marker: Marker): Route {
  return {
    name: markerRouteName,
    match: { path: MARKER_PATH, headers: [{ name: PROOF_HEADER, string_match: { exact: proofSecret } }] },
    direct_response: { status: 200, body: { inline_string: marker.body } },
    response_headers_to_add: [
      { header: { key: RELEASE_HEADER, value: literal(marker.releaseId) }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
      { header: { key: 'cache-control', value: 'no-store' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
    ],
  };
}

/** Sends whatever is asked for to https, on this port. */
export function redirectRoute(port: number): Route {
  return {
    name: 'chancery-redirect',
    match: { prefix: '/' },
    redirect: { https_redirect: true, port_redirect: port === 443 ? 0 : port, response_code: 'PERMANENT_REDIRECT' },
  };
}

/** Says that this connection is not one for the host that is asked for (RFC 9110, 15.5.20): clients open another. */
export const misdirectedRoute: Route = { name: 'chancery-misdirected', match: { prefix: '/' }, direct_response: { status: 421 } };

/** `ownHeaders` are ours and kept from services. */
export function toRouteConfiguration(
  name: string,
  virtualHosts: readonly VirtualHost[],
  options: { readonly validateClusters: boolean; readonly ownHeaders: readonly string[] },
): RouteConfiguration {
  return {
    name,
    virtual_hosts: virtualHosts,
    validate_clusters: options.validateClusters,
    max_direct_response_body_size_bytes: maxDirectResponseBytes,
    request_headers_to_remove: options.ownHeaders,
  };
}
