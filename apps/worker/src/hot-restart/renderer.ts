import type { Found } from '#features/discovery/discovery.js';
import { certificateSecretName, sessionTickets } from '#features/gateway/tls-secrets.envoy.js';
import { certificateProbes } from '#features/layout/certificate-probes.js';
import { bootstrapBytes, compile, type Endpoint, type Rendered } from '#features/rollout/compile.js';
import { mostWatchedCertificates, type SecretFile, type SecretFiles, standingSecretIn } from '#features/rollout/placed-secrets.js';
import { readStatusRows, replaceStatusRows, type StatusRow } from '#features/rollout/set-aside.table.js';
import type { Db } from '#platform/database/database.js';
import { contentHash } from '#platform/kernel/digest.js';
import type { LiveProbe } from '#platform/xds/generated/delivery.js';
import { type EncodedResource, encodeBootstrap, encodeEndpointFile, encodeHeldFile } from '#platform/xds/resource.js';

import type { GatewayFold } from '../fold/gateway-fold.js';
import { type Gateways, serviceOf } from '../fold/gateways.js';
import type { LaneSource } from '../fold/lane-source.js';
import { LaneSecrets, type NodeSecrets, type SecretSource } from '../secrets/lane-secrets.js';
import type { TargetSession } from '../targets/target-session.js';
import type { TargetRender } from './target-render.js';

/** A version that a target should run, `head` or another, and the record that says so. */
export interface TargetSource {
  readonly source: GatewayFold | 'head';
  readonly record: string;
}

export type SetAsideMap = ReadonlyMap<string, { readonly code: string; readonly drop: boolean }>;

/** Renders targets from the folds, what discovery found and what is set aside, and keeps the mappings' statuses. */
export class Renderer {
  readonly #encoded = new Map<string, EncodedResource>();
  readonly #secrets = new WeakMap<LaneSource, LaneSecrets>();
  readonly #sourceOf: (gateway: string, target: string) => TargetSource | undefined;

  constructor(
    readonly db: Db,
    readonly gateways: Gateways,
    readonly secretSource: SecretSource,
    sourceOf: (gateway: string, target: string) => TargetSource | undefined,
  ) {
    this.#sourceOf = sourceOf;
  }

  /** The newest render of what a target should run, from memory when nothing changed. Undefined while that, or its gateway, is not known. */
  async render(session: TargetSession): Promise<TargetRender | undefined> {
    const wanted = this.#sourceOf(session.gateway, session.target);
    const fold = wanted?.source === 'head' ? this.gateways.fold(session.gateway) : wanted?.source;
    if (wanted === undefined || fold === undefined) return undefined;
    const generation = this.gateways.generation(session.gateway);
    const rows = await readStatusRows(this.db, session.gateway);
    const setAside = currentSetAsides(rows, fold);
    const secrets = this.#secretsOf(fold);
    if (secrets.settle() !== undefined) return undefined; // whoever opens them tells when they are open
    const key = `${generation} ${fold.version} ${contentHash([...setAside])} ${secrets.revision} ${session.withoutHeld}`;
    if (session.render?.key === key) return session.render;
    const startedMs = performance.now();
    const rendered = this.compileWith(session, fold, setAside);
    const render: TargetRender = {
      key,
      version: fold.version,
      lowerVersionReason: wanted.source === 'head' ? '' : wanted.record,
      rendered,
      renderSha256: rendered.renderSha256,
      endpointsSha256: endpointsHash(rendered),
      durationMs: performance.now() - startedMs,
      certificates: secrets.state.certificates,
      probes: probesOf(session, fold, secrets.state),
      hasHeld: [...rendered.endpointFiles.values()].some(({ json }) => json.length === 0),
    };
    session.render = render;
    for (const [mapping, prefix] of rendered.statPrefixOf) session.mappingOfPrefix.set(prefix, mapping);
    if (wanted.source === 'head') await this.#writeStatuses(fold, rows, rendered);
    return render;
  }

  /** Compiles the gateway for a target with these mappings set aside (and, for trials, only some of the mappings). */
  compileWith(session: TargetSession, fold: LaneSource, setAside: SetAsideMap, only?: ReadonlySet<string>): Rendered {
    const { hello } = session.delivery;
    const listen = (at: typeof hello.http) => (at === undefined || at.port === 0 ? null : { address: at.address, port: at.port });
    const chosen = only === undefined ? fold.mappings.values() : [...only].flatMap((name) => fold.mappings.get(name) ?? []);
    return compile({
      gateway: fold.gateway,
      version: fold.version,
      settings: { ...fold.settings, allowLoopbackUpstreams: this.gateways.allowsLoopback(fold) },
      mappings: [...chosen].map(({ state }) => state),
      endpoints: endpointsByKey(this.#found(fold)),
      setAside,
      ...(only === undefined ? { secrets: secretFiles(this.#secretsOf(fold).state, session.withoutHeld) } : {}),
      node: { http: listen(hello.http), https: listen(hello.https), proofSecret: hello.proofSecret },
    });
  }

  /** Takes back a certificate whose file Envoy names as what it refuses. False when it names none that was given to it. */
  takeBack(gateway: string, message: string): boolean {
    const secret = standingSecretIn(message);
    const certificates = [...(this.gateways.fold(gateway)?.certificates.values() ?? [])];
    const certificate = certificates.find(({ name }) => certificateSecretName(name) === secret);
    if (certificate === undefined || this.secretSource.certificate(gateway, certificate).state !== 'open') return false;
    this.secretSource.refuse(gateway, certificate, message);
    return true;
  }

  #secretsOf(source: LaneSource): LaneSecrets {
    const known = this.#secrets.get(source) ?? new LaneSecrets(source, this.secretSource);
    this.#secrets.set(source, known);
    return known;
  }

  #found({ gateway, version }: LaneSource) {
    const isHead = this.gateways.fold(gateway)?.version === version;
    return isHead || this.gateways.versions.of(gateway, version) === undefined
      ? this.gateways.found(gateway)
      : this.gateways.versions.found(gateway, version);
  }

  /**
   * The files of a render as resources. The marker says what is served, not when it was sent: equal renders have equal bytes, so that
   * a release which changes only endpoints leaves the bootstrap, and with it the running Envoy, alone.
   */
  encode(render: TargetRender): { bootstrap: EncodedResource; endpoints: EncodedResource[]; marker: string } {
    const marker = markerOf(render);
    const endpoints = [...render.rendered.endpointFiles].map(([cluster, { json, sha256 }]) => {
      if (json.length === 0) return encodeHeldFile(cluster, sha256);
      const known = this.#encoded.get(`${cluster} ${sha256}`);
      if (known !== undefined) return known;
      const encoded = encodeEndpointFile(cluster, json);
      if (this.#encoded.size > 20_000) this.#encoded.clear();
      this.#encoded.set(`${cluster} ${sha256}`, encoded);
      return encoded;
    });
    return { bootstrap: encodeBootstrap(bootstrapBytes(render.rendered, { releaseId: marker, body: marker })), endpoints, marker };
  }

  async #writeStatuses(fold: GatewayFold, before: readonly StatusRow[], rendered: Rendered): Promise<void> {
    const after: StatusRow[] = before.filter(
      (row) => row.code === 'envoy_refused' && fold.mappings.get(row.mapping)?.digest === row.digest,
    );
    const aside = new Set(after.map((row) => row.mapping));
    const found = this.gateways.found(fold.gateway);
    for (const [mapping, { state, digest }] of fold.mappings) {
      const refused = rendered.refused.get(mapping);
      if (refused !== undefined && !aside.has(mapping)) {
        after.push({ mapping, state: 'set_aside', digest, code: refused.code, reason: refused.detail, dropped: false });
      }
      const service = serviceOf(state.service);
      const where = service === undefined ? undefined : found.get(service.key);
      if (where !== undefined && where.endpoints.length === 0) {
        const reason = `${state.service}: no endpoint is known${where.error === '' ? '' : ` (${where.error})`}. It goes live by itself when there is one.`;
        after.push({ mapping, state: 'unresolved', digest, code: 'unresolved_service', reason, dropped: false });
      }
    }
    await replaceStatusRows(this.db, fold.gateway, before, after);
  }
}

function secretFiles({ certificates, tickets, ...all }: NodeSecrets, withoutHeld: boolean): SecretFiles {
  const given = (files: ReadonlyMap<string, SecretFile>) => new Map([...files].filter(([, { json }]) => json.length > 0 || !withoutHeld));
  const [files, standing] = [given(all.files), given(all.standing)];
  const names = certificates.map(({ name }) => certificateSecretName(name)).filter((name) => files.has(name));
  // Of one that only nodes have, an older worker may not have noted the form that is read once.
  const served = names.filter((name, i) => i < mostWatchedCertificates || standing.has(name));
  return { certificates: served, tickets: tickets && files.has(sessionTickets), files, standing };
}

/** As many as an agent asks all of (see planProbes). */
const MOST_PROBES = 100;

/** All certificates, whatever has changed: another Envoy shows them, or may. By fewer names each where they are many, so that none is left out of the proof. */
function probesOf({ delivery: { hello } }: TargetSession, { settings }: LaneSource, { certificates, resources }: NodeSecrets): LiveProbe[] {
  const own = hello.https === undefined || hello.https.port === 0 ? null : hello.https;
  const probes = certificateProbes({ upserts: resources, removed: [] }, { certificates, at: own ?? settings.https });
  const asked = probes.filter(({ body }) => body !== '');
  if (asked.length <= MOST_PROBES) return asked;
  const each = Math.max(1, Math.floor(MOST_PROBES / certificates.length));
  const counts = new Map<string, number>();
  return asked.filter(({ path }) => {
    const secret = path.slice(path.lastIndexOf('/'));
    const count = (counts.get(secret) ?? 0) + 1;
    counts.set(secret, count);
    return count <= each;
  });
}

/** What the proof request must get: it names what is served. */
function markerOf(render: Pick<TargetRender, 'renderSha256'>): string {
  return `chancery ${render.renderSha256}`;
}

/** Only what is about a mapping as it stands now: a changed mapping gets its chance. */
function currentSetAsides(rows: readonly StatusRow[], fold: GatewayFold): SetAsideMap {
  return new Map(
    rows
      .filter((row) => row.state === 'set_aside' && row.code === 'envoy_refused' && fold.mappings.get(row.mapping)?.digest === row.digest)
      .map((row) => [row.mapping, { code: row.code, drop: row.dropped }]),
  );
}

function endpointsHash(rendered: Rendered): string {
  return contentHash([...rendered.endpointFiles].map(([name, { sha256 }]) => [name, sha256]).sort());
}

function endpointsByKey(found: ReadonlyMap<string, Found>): ReadonlyMap<string, readonly Endpoint[]> {
  return new Map([...found].map(([key, { endpoints }]) => [key, endpoints]));
}
