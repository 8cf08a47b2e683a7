import { type GatewaySettings, settingsOf } from '#features/gateway/gateway.js';
import { fromJson, type MappingState } from '#features/mapping/mapping-state.js';
import type { SubjectRecord } from '#platform/eventstore/event-store.js';
import type { LoggedVersion } from '#platform/eventstore/follower.js';
import { contentHash } from '#platform/kernel/digest.js';
import type { JsonObject } from '#platform/kernel/json.js';

/** A mapping as it stands, and since which version of the gateway. */
export interface FoldedMapping {
  readonly state: MappingState;
  /** Content hash of the state: what a set-aside is about. */
  readonly digest: string;
  readonly streamVersion: number;
}

/** The current state of one gateway, kept in memory by following its stream. Folding from the start and from a snapshot give the same. */
export class GatewayFold {
  #version: number;
  #settings: GatewaySettings;
  #seenAtMs = Date.now();
  readonly #mappings = new Map<string, FoldedMapping>();

  constructor(
    readonly gateway: string,
    snapshot: { readonly version: number; readonly subjects: readonly SubjectRecord[] },
  ) {
    this.#version = snapshot.version;
    this.#settings = settingsOf({});
    for (const record of snapshot.subjects) this.#take(record.subject, record.state, record.streamVersion);
  }

  get version(): number {
    return this.#version;
  }

  /** When this process folded the newest version, in ms since 1970. */
  get seenAtMs(): number {
    return this.#seenAtMs;
  }

  get settings(): GatewaySettings {
    return this.#settings;
  }

  get mappings(): ReadonlyMap<string, FoldedMapping> {
    return this.#mappings;
  }

  /** @throws Error when the version is not the next one: what follows it cannot be trusted. */
  apply(version: LoggedVersion): void {
    if (version.version <= this.#version) return; // brought again after an error further on
    if (version.version !== this.#version + 1)
      throw new Error(`gateway ${this.gateway}: version ${version.version} after ${this.#version}`);
    for (const event of version.events) this.#take(event.subject, event.state, version.version);
    this.#version = version.version;
    this.#seenAtMs = Date.now();
  }

  #take(subject: string, state: JsonObject | null, streamVersion: number): void {
    if (subject === 'gateway' && state !== null) this.#settings = settingsOf(state);
    if (!subject.startsWith('mapping/')) return;
    const name = subject.slice('mapping/'.length);
    if (state === null) this.#mappings.delete(name);
    else this.#mappings.set(name, { state: fromJson(name, state), digest: contentHash(state), streamVersion });
  }
}
