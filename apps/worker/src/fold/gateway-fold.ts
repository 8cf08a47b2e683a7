import { type GatewaySettings, settingsOf } from '#features/gateway/gateway.js';
import { fromJson, type MappingState, toJson } from '#features/mapping/mapping-state.js';
import { isNamedOrder } from '#features/promotion/shrink.js';
import type { LoggedVersion } from '#platform/eventstore/follower.js';
import { contentHash } from '#platform/kernel/digest.js';
import { canonicalJson, type JsonObject } from '#platform/kernel/json.js';

import { type FoldedCertificate, foldedCertificate } from './folded-certificate.js';

/** A mapping as it stands, and since which version of the gateway. */
export interface FoldedMapping {
  readonly state: MappingState;
  /** Content hash of the recorded state: what a set-aside is about. Computed when it is asked for. */
  readonly digest: string;
  readonly streamVersion: number;
}

/** What one or several versions have changed. Undefined stands for a mapping that did not exist, or does not exist any more. */
export interface FoldChange {
  readonly mappings: ReadonlyMap<string, { readonly before: FoldedMapping | undefined; readonly after: FoldedMapping | undefined }>;
  readonly settings: boolean;
  /** Certificates, by name, that are others now; and whether the list of principals is another. */
  readonly certificates: ReadonlySet<string>;
  readonly principals: boolean;
  /** The mappings that nobody named: an import made them what they are. */
  readonly imported: ReadonlySet<string>;
}

/** A subject as the log has it. */
interface LoggedSubject {
  readonly subject: string;
  readonly streamVersion: number;
  readonly state: JsonObject | null;
}

/** The current state of one gateway, kept in memory by following its stream. Folding from the start and from a snapshot give the same. */
export class GatewayFold {
  #version = 0;
  #settings: GatewaySettings = settingsOf({});
  #seenAtMs = Date.now();
  #immediateVersion = 1;
  readonly #mappings = new Map<string, FoldedMapping>();
  readonly #certificates = new Map<string, FoldedCertificate>();
  readonly #principals = new Map<string, string>();

  constructor(readonly gateway: string) {}

  get version(): number {
    return this.#version;
  }

  /** When this process folded the newest version, in ms since 1970. */
  get seenAtMs(): number {
    return this.#seenAtMs;
  }

  /** The newest version whose settings deploy at once; at least 1. */
  get immediateVersion(): number {
    return this.#immediateVersion;
  }

  get settings(): GatewaySettings {
    return this.#settings;
  }

  get mappings(): ReadonlyMap<string, FoldedMapping> {
    return this.#mappings;
  }

  get certificates(): ReadonlyMap<string, FoldedCertificate> {
    return this.#certificates;
  }

  /** The fingerprints of the clients that are known, by the names of the principals. */
  get principals(): ReadonlyMap<string, string> {
    return this.#principals;
  }

  /** What a snapshot does not tell: since which version of it the settings do not deploy at once. */
  knowImmediate(version: number): void {
    this.#immediateVersion = version;
  }

  /** Takes subjects of a snapshot of this version, instead of folding from the start. */
  load(version: number, subjects: readonly LoggedSubject[]): void {
    this.#version = version;
    for (const subject of subjects) this.#take(subject);
  }

  /**
   * Versions in order; what came before is passed over. Answers what is another thing now than it was.
   * @throws Error when a version is not the next one: what follows it cannot be trusted.
   */
  apply(versions: readonly LoggedVersion[]): FoldChange {
    const mappings = new Map<string, { before: FoldedMapping | undefined; after: FoldedMapping | undefined }>();
    const imported = new Set<string>();
    const certificates = new Set<string>();
    let [settings, principals] = [false, false];
    for (const version of versions) {
      if (version.version <= this.#version) continue; // brought again after an error further on
      if (version.version !== this.#version + 1)
        throw new Error(`gateway ${this.gateway}: version ${version.version} after ${this.#version}`);
      for (const { subject, state } of version.events) {
        const name = nameIn('mapping/', subject);
        const before = name === undefined ? undefined : this.#mappings.get(name);
        this.#take({ subject, state, streamVersion: version.version });
        if (name !== undefined)
          mappings.set(name, { before: mappings.has(name) ? mappings.get(name)?.before : before, after: this.#mappings.get(name) });
        if (name !== undefined && isNamedOrder(version.action)) imported.delete(name);
        else if (name !== undefined) imported.add(name);
        settings ||= subject === 'gateway';
        principals ||= subject.startsWith('principal/');
        const certificate = nameIn('certificate/', subject);
        if (certificate !== undefined) certificates.add(certificate);
      }
      this.#version = version.version;
      if (this.#settings.rollout.strategy === 'immediate') this.#immediateVersion = version.version;
      this.#seenAtMs = Date.now();
    }
    return { mappings, settings, imported, certificates, principals };
  }

  #take({ subject, state, streamVersion }: LoggedSubject): void {
    if (subject === 'gateway' && state !== null) this.#settings = settingsOf(state);
    const name = nameIn('mapping/', subject);
    if (name !== undefined) {
      if (state === null) this.#mappings.delete(name);
      else this.#mappings.set(name, new Folded(name, state, streamVersion));
      return;
    }
    const certificate = nameIn('certificate/', subject);
    if (certificate !== undefined) {
      const folded = state === null ? undefined : foldedCertificate(certificate, state, streamVersion);
      if (folded === undefined) this.#certificates.delete(certificate);
      else this.#certificates.set(certificate, folded);
    }
    const principal = nameIn('principal/', subject);
    if (principal === undefined) return;
    if (typeof state?.fingerprint !== 'string') this.#principals.delete(principal);
    else this.#principals.set(principal, state.fingerprint.replaceAll(':', '').toLowerCase());
  }
}

function nameIn(kind: string, subject: string): string | undefined {
  return subject.startsWith(kind) ? subject.slice(kind.length) : undefined;
}

class Folded implements FoldedMapping {
  readonly state: MappingState;
  readonly streamVersion: number;
  /** Undefined while the hash can be computed from the state, which is so for whatever this program recorded. */
  readonly #hash: string | undefined;

  constructor(name: string, recorded: JsonObject, streamVersion: number) {
    this.state = shared(fromJson(name, recorded));
    this.streamVersion = streamVersion;
    this.#hash = isWhole(name, recorded) ? undefined : contentHash(recorded);
  }

  get digest(): string {
    return this.#hash ?? contentHash(toJson(this.state));
  }
}

/** Whether the record is read back without a loss: it has exactly the members of a mapping, each of its type. */
function isWhole(name: string, recorded: JsonObject): boolean {
  return (
    Object.keys(recorded).length === (recorded.tls === undefined ? 11 : 12) &&
    recorded.name === name &&
    isText(recorded.host) &&
    (recorded.prefix === null || isText(recorded.prefix)) &&
    (recorded.path === null || isText(recorded.path)) &&
    isText(recorded.service) &&
    isText(recorded.rewrite) &&
    Array.isArray(recorded.methods) &&
    recorded.methods.every(isText) &&
    areTexts(recorded.headers) &&
    typeof recorded.precedence === 'number' &&
    typeof recorded.timeoutMs === 'number' &&
    areTexts(recorded.labels) &&
    isTls(recorded.tls)
  );
}

function isTls(value: unknown): boolean {
  if (value === undefined) return true;
  const members = typeof value === 'object' && value !== null ? Object.entries(value) : [];
  return (
    members.length === 3 &&
    members.every(([key, member]) => ['sni', 'caBundle', 'certificate'].includes(key) && (member === null || isText(member)))
  );
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function areTexts(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && Object.values(value).every(isText);
}

/** What many mappings have alike is held once: with 100,000 of them that is a third of their memory. */
const mostShared = 10_000;
const sharedTexts = new Map<string, string>();
const sharedLabels = new Map<string, Readonly<Record<string, string>>>();
const nothing: Readonly<Record<string, string>> = Object.freeze({});
const none: readonly string[] = Object.freeze([]);

function shared(state: MappingState): MappingState {
  return {
    ...state,
    host: sharedText(state.host),
    service: sharedText(state.service),
    rewrite: sharedText(state.rewrite),
    methods: state.methods.length === 0 ? none : state.methods,
    headers: Object.keys(state.headers).length === 0 ? nothing : state.headers,
    labels: sharedRecord(state.labels),
  };
}

function sharedText(text: string): string {
  const known = sharedTexts.get(text);
  if (known !== undefined) return known;
  if (sharedTexts.size >= mostShared) sharedTexts.clear();
  sharedTexts.set(text, text);
  return text;
}

function sharedRecord(labels: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  if (Object.keys(labels).length === 0) return nothing;
  const key = canonicalJson(labels);
  const known = sharedLabels.get(key);
  if (known !== undefined) return known;
  if (sharedLabels.size >= mostShared) sharedLabels.clear();
  sharedLabels.set(key, labels);
  return labels;
}
