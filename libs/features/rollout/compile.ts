import { rootCertificates } from 'node:tls';
import { toBootstrap, withMarker } from '#features/gateway/gateway.envoy.js';
import type { GatewaySettings, ListenAddress } from '#features/gateway/gateway.js';
import { type Marker, reservedRoutes } from '#features/gateway/routes.envoy.js';
import { certificateSecretName } from '#features/gateway/tls-secrets.envoy.js';
import { streamIdleTimeoutMs, toEnvoy } from '#features/mapping/mapping.envoy.js';
import {
  assignment,
  type Endpoint,
  inlineCluster,
  mostWatchedClusters,
  reachable,
  trustName,
  trustSecret,
  upstreamTrust,
  watched,
  watchedCluster,
} from '#features/mapping/mapping-cluster.envoy.js';
import type { MappingState } from '#features/mapping/mapping-state.js';
import type { Upstream } from '#features/mapping/upstream-tls.js';
import type { Bootstrap } from '#platform/envoy/model/bootstrap.js';
import type { Cluster } from '#platform/envoy/model/cluster.js';
import type { PathConfigSource } from '#platform/envoy/model/config-source.js';
import type { StandingSecret } from '#platform/envoy/model/tls.js';
import { contentHash, sha256Hex } from '#platform/kernel/digest.js';
import { canonicalJson } from '#platform/kernel/json.js';

import { type PlacedSecrets, placeSecrets, type SecretFiles } from './placed-secrets.js';
import { watchedFile } from './watched-file.js';

export type { Endpoint };

/** What is true of one node and not of its gateway. */
interface NodeFacts {
  /** Where this node listens, if not where the gateway's settings say. */
  readonly http: ListenAddress | null;
  readonly https: ListenAddress | null;
  /** Opens the marker path on this node only. */
  readonly proofSecret: string;
}

/** Everything that a configuration is made of; equal inputs give equal bytes. */
export interface CompileInput {
  readonly gateway: string;
  readonly version: number;
  readonly settings: GatewaySettings;
  /** In any order, and with any content: what makes no sense is refused by itself. */
  readonly mappings: readonly MappingState[];
  /** By the key of the service reference; a service without an entry has no endpoints. */
  readonly endpoints: ReadonlyMap<string, readonly Endpoint[]>;
  readonly setAside: ReadonlyMap<string, { readonly code: string; readonly drop: boolean }>;
  readonly node: NodeFacts;
  /** Left out where a configuration is only tried or compared. */
  readonly secrets?: SecretFiles;
  /** Where a test wants another budget than that of virtual-hosts.ts. */
  readonly maxCopiedBytes?: number;
}

/** A configuration, ready to be released. */
export interface Rendered {
  /** Without the marker's content: that is the release's, and this is what the release is made of. */
  readonly bootstrap: Bootstrap;
  /** Of the bootstrap's canonical JSON; marker and endpoint files are not in it, so endpoints change without a restart. */
  readonly renderSha256: string;
  /** By name: `endpoints/<name>.json` in the node's folder. One per cluster, or one for all where there are many; and what https upstreams are trusted by. */
  readonly endpointFiles: ReadonlyMap<string, { readonly json: Buffer; readonly sha256: string }>;
  /** Every cluster, whether it stands in the bootstrap or in a watched file. */
  readonly clusters: readonly Cluster[];
  /** Mappings that could not be compiled, and why; the rest is not touched by them. */
  readonly refused: ReadonlyMap<string, { readonly code: string; readonly detail: string }>;
  readonly clusterOf: ReadonlyMap<string, string>;
  /** Empty when statistics per mapping are off. */
  readonly statPrefixOf: ReadonlyMap<string, string>;
}

/** `auto` keeps statistics per mapping up to here: each costs Envoy about a dozen counters. */
const autoStatsLimit = 10_000;

/**
 * Compiles a gateway's state for one node. Pure: no clock, no environment, no order of its input.
 *
 * Two processes call it. The worker compiles what Envoys are given: with the node's facts, the endpoints that were found, what is set aside. The api
 * compiles to compare two versions and for nothing else (read-render-difference.ts): without any of those, and with an empty proof secret.
 */
export function compile(input: CompileInput): Rendered {
  const { settings, node } = input;
  const { secrets } = input;
  const placed = placeSecrets(secrets);
  const reserved = reservedRoutes(node.proofSecret);
  const translated = toEnvoy(
    input.mappings,
    {
      setAside: input.setAside,
      allowLoopback: settings.allowLoopbackUpstreams,
      perRouteStats: settings.perRouteStats === 'on' || (settings.perRouteStats === 'auto' && input.mappings.length <= autoStatsLimit),
      maxCopiedBytes: input.maxCopiedBytes,
      hasCertificate: (name) => secrets === undefined || secrets.files.has(certificateSecretName(name)),
    },
    reserved,
  );
  const find = (key: string) => reachable(input.endpoints.get(key) ?? [], settings.allowLoopbackUpstreams);
  const upstreams = toUpstreams(translated.upstreams, find, placed);
  const https = node.https ?? settings.https;
  const isTls = https !== null && secrets !== undefined && secrets.certificates.length > 0;
  const used = new Set([...translated.upstreams.values()].map(({ tls }) => certificateSecretName(tls?.certificate ?? '')));
  const named = [...(secrets?.files.keys() ?? [])].filter((name) => isTls || used.has(name));
  const bootstrap = toBootstrap({
    gateway: input.gateway,
    http: node.http ?? settings.http,
    https,
    policy: settings.tls,
    tls: isTls ? { ...secrets, policy: settings.tls, source: placed.source } : undefined,
    reserved,
    settings,
    streamIdleTimeoutMs,
    virtualHosts: translated.virtualHosts,
    clusters: upstreams.clusters,
    clusterFile: upstreams.clusterFile,
    secrets: [...named.flatMap((name) => placed.standing(name) ?? []), ...upstreams.secrets],
  });
  return {
    bootstrap,
    renderSha256: contentHash(bootstrap),
    endpointFiles: new Map([
      ...[...upstreams.files].map(([name, json]) => [name, { json, sha256: sha256Hex(json) }] as const),
      ...named.flatMap((name) => placed.file(name)),
    ]),
    clusters: upstreams.all,
    refused: new Map([...translated.refused].map(([name, { code, detail }]) => [name, { code, detail }])),
    clusterOf: translated.clusterOf,
    statPrefixOf: translated.statPrefixOf,
  };
}

interface Upstreams {
  /** Those of the bootstrap. */
  readonly clusters: readonly Cluster[];
  readonly all: readonly Cluster[];
  readonly clusterFile: PathConfigSource | null;
  readonly files: ReadonlyMap<string, Buffer>;
  readonly secrets: readonly StandingSecret[];
}

/** The clusters of these upstreams, and the files that hold what changes without a restart. */
function toUpstreams(
  services: ReadonlyMap<string, Upstream>,
  find: (key: string) => readonly Endpoint[],
  placed: PlacedSecrets,
): Upstreams {
  const https = [...services.values()].filter(({ scheme }) => scheme === 'https');
  const trust = new Map(
    https.map(({ tls }) => tls?.caBundle ?? null).includes(null) ? [[upstreamTrust, watchedFile([trustSecret(rootCertificates)])]] : [],
  );
  const bundles = new Map(
    https.flatMap((service) => (service.tls?.caBundle == null ? [] : [[trustName(service), service.tls.caBundle] as const])),
  );
  const source = (secret: string) => (bundles.has(secret) ? undefined : placed.source(secret));
  // A bundle is named by its content: there is nothing to watch.
  const secrets = [...bundles].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, bundle]) => standingTrust(name, bundle));
  const entries = [...services].map(([name, service]) => ({ name, service, assignment: assignment(name, find(service.key)) }));
  if (entries.length <= mostWatchedClusters) {
    const clusters = entries.map(({ name, service }) => watchedCluster(name, service, source));
    const files = entries.map(({ name, assignment }): [string, Buffer] => [name, watchedFile([{ ...typeOfAssignment, ...assignment }])]);
    return { clusters, all: clusters, clusterFile: null, files: new Map([...files, ...trust]), secrets };
  }
  // The file's name is of the clusters without their endpoints: an Envoy that still runs the release before keeps watching its own.
  const definitions = entries.map(({ name, service }) => inlineCluster(name, service, { assignment: assignment(name, []), source }));
  const file = `clusters-${contentHash(definitions).slice(0, 24)}`;
  const clusters = entries.map(({ name, service, assignment }) => inlineCluster(name, service, { assignment, source }));
  return { clusters: [], all: clusters, clusterFile: watched(file), files: new Map([[file, watchedFile(clusters)], ...trust]), secrets };
}

function standingTrust(name: string, bundle: string): StandingSecret {
  const { '@type': _type, ...secret } = trustSecret([bundle], name);
  return secret;
}

/** The bytes that Envoy is started with: canonical JSON of the bootstrap, with the marker of this release filled in. */
export function bootstrapBytes(rendered: Rendered, marker: Marker): Buffer {
  return Buffer.from(canonicalJson(withMarker(rendered.bootstrap, marker)));
}

const typeOfAssignment = { '@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment' } as const;
