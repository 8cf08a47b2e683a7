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
  watched,
  watchedCluster,
} from '#features/mapping/mapping-cluster.envoy.js';
import type { MappingState } from '#features/mapping/mapping-state.js';
import type { Upstream } from '#features/mapping/upstream-tls.js';
import type { Bootstrap } from '#platform/envoy/model/bootstrap.js';
import type { Cluster } from '#platform/envoy/model/cluster.js';
import type { PathConfigSource } from '#platform/envoy/model/config-source.js';
import { contentHash, sha256Hex } from '#platform/kernel/digest.js';
import { canonicalJson } from '#platform/kernel/json.js';

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

/** Certificates and what belongs to them, as files that Envoy watches: they change without a restart. */
export interface SecretFiles {
  /** Names of secrets in the order of the listener. None: there is no listener with TLS. */
  readonly certificates: readonly string[];
  readonly tickets: boolean;
  /** By the name of the secret. A file without bytes is for nodes that have it. */
  readonly files: ReadonlyMap<string, SecretFile>;
}

export interface SecretFile {
  readonly json: Buffer;
  readonly sha256: string;
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
  const secrets = input.secrets === undefined ? undefined : withinWatches(input.secrets);
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
  const upstreams = toUpstreams(translated.upstreams, (key) => reachable(input.endpoints.get(key) ?? [], settings.allowLoopbackUpstreams));
  const bootstrap = toBootstrap({
    gateway: input.gateway,
    http: node.http ?? settings.http,
    https: node.https ?? settings.https,
    policy: settings.tls,
    tls: secrets === undefined || secrets.certificates.length === 0 ? undefined : { ...secrets, policy: settings.tls, source: watched },
    reserved,
    settings,
    streamIdleTimeoutMs,
    virtualHosts: translated.virtualHosts,
    clusters: upstreams.clusters,
    clusterFile: upstreams.clusterFile,
  });
  const used = new Set([...translated.upstreams.values()].map(({ tls }) => certificateSecretName(tls?.certificate ?? '')));
  const isTls = bootstrap.static_resources.listeners.length > 1;
  const named = [...(secrets?.files ?? [])].filter(([name]) => isTls || used.has(name));
  return {
    bootstrap,
    renderSha256: contentHash(bootstrap),
    endpointFiles: new Map([...[...upstreams.files].map(([name, json]) => [name, { json, sha256: sha256Hex(json) }] as const), ...named]),
    clusters: upstreams.all,
    refused: new Map([...translated.refused].map(([name, { code, detail }]) => [name, { code, detail }])),
    clusterOf: translated.clusterOf,
    statPrefixOf: translated.statPrefixOf,
  };
}

/**
 * Certificates whose files one Envoy may watch beside its clusters' (see mostWatchedClusters); the others by name are left out, and need live delivery.
 */
export const mostWatchedCertificates = 18;

function withinWatches({ certificates, tickets, files }: SecretFiles): SecretFiles {
  const over = new Set(certificates.slice(mostWatchedCertificates));
  return {
    certificates: certificates.filter((name) => !over.has(name)),
    tickets,
    files: over.size === 0 ? files : new Map([...files].filter(([name]) => !over.has(name))),
  };
}

interface Upstreams {
  /** Those of the bootstrap. */
  readonly clusters: readonly Cluster[];
  readonly all: readonly Cluster[];
  readonly clusterFile: PathConfigSource | null;
  readonly files: ReadonlyMap<string, Buffer>;
}

/** The clusters of these upstreams, and the files that hold what changes without a restart. */
function toUpstreams(services: ReadonlyMap<string, Upstream>, find: (key: string) => readonly Endpoint[]): Upstreams {
  const https = [...services.values()].filter(({ scheme }) => scheme === 'https');
  const trust = new Map(https.map((service) => [trustName(service), trustFile(service)]));
  const entries = [...services].map(([name, service]) => ({ name, service, assignment: assignment(name, find(service.key)) }));
  if (entries.length <= mostWatchedClusters) {
    const clusters = entries.map(({ name, service }) => watchedCluster(name, service));
    return {
      clusters,
      all: clusters,
      clusterFile: null,
      files: new Map([
        ...entries.map(({ name, assignment }): [string, Buffer] => [name, watchedFile([{ ...typeOfAssignment, ...assignment }])]),
        ...trust,
      ]),
    };
  }
  // The file's name is of the clusters without their endpoints: an Envoy that still runs the release before keeps watching its own.
  const definitions = entries.map(({ name, service }) => inlineCluster(name, service, assignment(name, [])));
  const file = `clusters-${contentHash(definitions).slice(0, 24)}`;
  const clusters = entries.map(({ name, service, assignment }) => inlineCluster(name, service, assignment));
  return { clusters: [], all: clusters, clusterFile: watched(file), files: new Map([[file, watchedFile(clusters)], ...trust]) };
}

/** The bytes that Envoy is started with: canonical JSON of the bootstrap, with the marker of this release filled in. */
export function bootstrapBytes(rendered: Rendered, marker: Marker): Buffer {
  return Buffer.from(canonicalJson(withMarker(rendered.bootstrap, marker)));
}

const typeOfAssignment = { '@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment' } as const;

/** Its own bundle, or the public authorities that this build of Node carries: the same on every machine that runs the same release. */
function trustFile(service: Upstream): Buffer {
  const bundle = service.tls?.caBundle ?? null;
  return watchedFile([trustSecret(bundle === null ? rootCertificates : [bundle], trustName(service))]);
}
