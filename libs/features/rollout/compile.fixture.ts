import { clientFilter } from '#features/gateway/client-check.envoy.js';
import type { GatewaySettings } from '#features/gateway/gateway.js';
import { defaultSettings } from '#features/gateway/gateway.js';
import { clientTrust, sessionTickets } from '#features/gateway/tls-secrets.envoy.js';
import { upstreamTrust } from '#features/mapping/mapping-cluster.envoy.js';
import type { MappingState } from '#features/mapping/mapping-state.js';
import { parseInstance } from '#platform/envoy/model/upstream-address.js';
import { sha256Hex } from '#platform/kernel/digest.js';
import { canonicalJson } from '#platform/kernel/json.js';

import { bootstrapBytes, type CompileInput, compile, type Endpoint, type Rendered } from './compile.js';
import type { SecretFiles } from './placed-secrets.js';
import { watchedFile } from './watched-file.js';

/** What a golden input may say; the rest has its default. */
export interface GoldenInput {
  readonly title: string;
  readonly mappings: readonly MappingState[];
  readonly settings?: Partial<GatewaySettings>;
  readonly endpoints?: Readonly<Record<string, readonly string[]>>;
  readonly setAside?: Readonly<Record<string, { readonly code: string; readonly drop: boolean }>>;
  readonly node?: { readonly address: string; readonly port: number };
  readonly maxCopiedBytes?: number;
  readonly secrets?: { readonly certificates: readonly string[]; readonly tickets: boolean };
}

export const proofSecret = 'proof-of-this-node';

/** A compiler's input with everything that a test leaves open. */
export function inputOf(golden: Omit<GoldenInput, 'title'>): CompileInput {
  return {
    gateway: 'default',
    version: 1,
    settings: { ...defaultSettings, ...golden.settings },
    mappings: golden.mappings,
    endpoints: new Map(Object.entries(golden.endpoints ?? {}).map(([key, at]) => [key, at.map(endpoint)])),
    setAside: new Map(Object.entries(golden.setAside ?? {})),
    node: { http: golden.node ?? null, https: null, proofSecret },
    ...(golden.secrets === undefined ? {} : { secrets: secretsOf(golden.secrets, golden.settings?.tls ?? defaultSettings.tls) }),
    ...(golden.maxCopiedBytes === undefined ? {} : { maxCopiedBytes: golden.maxCopiedBytes }),
  };
}

/** Files of nothing: what they hold is not the compiler's. */
function secretsOf(
  { certificates, tickets }: NonNullable<GoldenInput['secrets']>,
  { clientCertificates }: GatewaySettings['tls'],
): SecretFiles {
  const own = [
    ...(tickets ? [sessionTickets] : []),
    ...(clientCertificates === null ? [] : [clientTrust]),
    ...(clientCertificates?.principals === true ? [clientFilter] : []),
  ];
  const json = watchedFile([]);
  const file = { json, sha256: sha256Hex(json) };
  const files = new Map([...certificates, ...own].map((name) => [name, file]));
  return { certificates, tickets, files, standing: new Map(certificates.map((name) => [name, file])) };
}

function endpoint(text: string): Endpoint {
  const instance = parseInstance(text);
  if (instance === undefined) throw new Error(`${text} is not address:port`);
  return instance;
}

/** The golden output of an input: everything that leaves the compiler, readable, in a fixed order. */
export function goldenOutput(golden: GoldenInput): { text: string; rendered: Rendered } {
  const rendered = compile(inputOf(golden));
  const bootstrap = JSON.parse(bootstrapBytes(rendered, { releaseId: 'release-1', body: 'marker 100%' }).toString());
  // The authorities change with Node, not with us.
  const files = [...rendered.endpointFiles].map(([name, { json }]) => [
    name,
    name === upstreamTrust ? 'public authorities' : JSON.parse(json.toString()),
  ]);
  const everything = {
    bootstrap,
    endpointFiles: Object.fromEntries(files),
    refused: Object.fromEntries(rendered.refused),
    clusterOf: Object.fromEntries(rendered.clusterOf),
    statPrefixOf: Object.fromEntries(rendered.statPrefixOf),
    renderSha256: rendered.renderSha256,
  };
  return { text: `${JSON.stringify(JSON.parse(canonicalJson(everything)), null, 2)}\n`, rendered };
}
