import { listOrdered, readInventory, writeInventory } from '#features/promotion/inventory.table.js';
import type { HoldState } from '#features/promotion/promotion.js';
import { type Shrink, shrinkOf } from '#features/promotion/shrink.js';
import type { Db } from '#platform/database/database.js';
import { readFormer } from '#platform/eventstore/read-changes.js';
import { eachInTurns } from '#platform/kernel/turns.js';
import type { Log } from '#platform/log/log.js';

import type { FoldChange } from '../fold/gateway-fold.js';
import { serviceOf } from '../fold/gateways.js';
import type { LaneSource } from '../fold/lane-source.js';
import type { Touched } from './live-lane.js';

export interface ShrinkGuardOptions {
  readonly db: Db;
  readonly log: Log;
  readonly source: LaneSource;
  /** Does the configuration that would be pushed serve this mapping? */
  isServed(name: string): boolean;
  /** The certificates that it has; the same list as long as they are the same. */
  certificates(): readonly { readonly name: string }[];
  /** Is an endpoint known of the service (ServiceReference.key)? */
  hasEndpoint(key: string): boolean;
  hold(): HoldState | null;
  /** What would be lost by the push that is held back; undefined when nothing is held back any more. */
  onVerdict(shrink: Shrink | undefined): void;
}

/** Between the push and the note of what it serves. Milliseconds. */
const WRITE_AFTER_MS = 500;
/** No share of fewer objects is looked at, so that less than this share of them in losses is nothing. */
const LEAST_OBJECTS = 10;

/**
 * Stands before the pushes of one gateway: one that would lose too much of what is served, without anybody having named it, does not go out. What is
 * in force is kept mapping by mapping, so that a change costs what it touches; only when enough is lost that it could be too much is all compared.
 */
export class ShrinkGuard {
  readonly #options: ShrinkGuardOptions;
  /** Host by served mapping. */
  #inForce = new Map<string, string>();
  /** All that is served, as `prepare` has found it, until it is in force. */
  #prepared: Map<string, string> | undefined;
  #isPrepared = false;
  #certificatesInForce: ReadonlySet<string> = new Set();
  /** The list that they are, or were found to be. */
  #certificates: readonly { readonly name: string }[] = [];
  readonly #touched = new Set<string>();
  #lost = new Set<string>();
  readonly #ordered = new Set<string>();
  /** By ServiceReference.key, as far as it was ever looked at. */
  readonly #empty = new Map<string, boolean>();
  #verdict: Shrink | undefined;
  #writing: NodeJS.Timeout | undefined;
  #write: Promise<void> = Promise.resolve();

  constructor(options: ShrinkGuardOptions) {
    this.#options = options;
  }

  /** Reads what the gateway's targets serve, before the first push of this process. */
  async load(): Promise<void> {
    const { db, source } = this.#options;
    const stored = await readInventory(db, source.gateway);
    if (stored === undefined) return; // nothing was pushed ever
    // What no version since has touched is as it is now.
    const former = (kind: string) =>
      readFormer(db, `gateway/${source.gateway}`, { kind, after: Math.min(stored.version, source.version), at: stored.version });
    const touched = await former('mapping');
    await eachInTurns(source.mappings, ([name, { state }]) => {
      if (!touched.has(`mapping/${name}`)) this.#inForce.set(name, state.host);
    });
    for (const [subject, state] of touched)
      if (state !== null) this.#inForce.set(subject.slice('mapping/'.length), String(state.host ?? '*'));
    for (const name of stored.unserved) this.#inForce.delete(name);
    if (stored.unservedCertificates !== null) {
      const others = await former('certificate');
      const certificates = new Set([...source.certificates.keys()].filter((name) => !others.has(`certificate/${name}`)));
      for (const [subject, state] of others) if (state !== null) certificates.add(subject.slice('certificate/'.length));
      for (const name of stored.unservedCertificates) certificates.delete(name);
      this.#certificatesInForce = certificates;
    }
    for (const subject of await listOrdered(db, source.gateway, stored.version)) this.#ordered.add(subject);
  }

  async close(): Promise<void> {
    clearTimeout(this.#writing);
    await this.#write;
  }

  /** A push is held back. */
  get holds(): boolean {
    return this.#verdict !== undefined;
  }

  /** What commands have named is ordered, whatever becomes of it. */
  order({ mappings, certificates, imported }: FoldChange): void {
    for (const name of mappings.keys()) if (!imported.has(name)) this.#ordered.add(`mapping/${name}`);
    for (const name of certificates) this.#ordered.add(`certificate/${name}`); // no import changes one
  }

  /** Looks at everything, in turns with others, where `lets` is to be asked about all of it: of 100,000 mappings that is a tenth of a second. */
  async prepare(): Promise<void> {
    const { source, isServed } = this.#options;
    const [routes, lost] = [new Map<string, string>(), new Set<string>()];
    await eachInTurns(source.mappings, ([name, { state }]) => {
      if (isServed(name)) routes.set(name, state.host);
    });
    await eachInTurns(this.#inForce.keys(), (name) => {
      if (!routes.has(name) && !this.#ordered.has(`mapping/${name}`)) lost.add(name);
    });
    this.#touched.clear();
    this.#lost = lost;
    this.#prepared = routes;
    this.#isPrepared = true;
  }

  /** May the configuration go out as it is now? What has changed since it was prepared is asked about once more. @param touched what has changed since this was asked last */
  lets(touched: Touched): boolean {
    const { source } = this.#options;
    if (touched.mappings !== 'all') for (const name of touched.mappings) this.#touch(name);
    else if (!this.#isPrepared) {
      this.#prepared = undefined;
      for (const name of [...this.#inForce.keys(), ...source.mappings.keys()]) this.#touch(name);
    }
    for (const name of this.#ofServices(touched.services)) this.#touch(name);
    const shrink = this.#judge();
    this.#isPrepared = false;
    const hold = this.#options.hold();
    const isMeant = shrink !== undefined && hold?.state === 'confirmed' && hold.id === shrink.id;
    const verdict = isMeant ? undefined : shrink;
    if (verdict?.id !== this.#verdict?.id) this.#options.onVerdict(verdict);
    this.#verdict = verdict;
    if (verdict !== undefined) return false;
    this.#take();
    return true;
  }

  #touch(name: string): void {
    this.#touched.add(name);
    const isLost = this.#inForce.has(name) && !this.#ordered.has(`mapping/${name}`) && !this.#options.isServed(name);
    if (isLost) this.#lost.add(name);
    else this.#lost.delete(name);
  }

  /** The mappings of services that had endpoints and have none, or the other way round. Others are looked at once. */
  *#ofServices(keys: Iterable<string>): Iterable<string> {
    const moved = new Set<string>();
    for (const key of keys) {
      const isEmpty = !this.#options.hasEndpoint(key);
      if (isEmpty === this.#empty.get(key)) continue;
      this.#empty.set(key, isEmpty);
      moved.add(key);
    }
    if (moved.size === 0) return;
    for (const [name, { state }] of this.#options.source.mappings) if (moved.has(serviceOf(state.service)?.key ?? '')) yield name;
  }

  #judge(): Shrink | undefined {
    const { source, isServed } = this.#options;
    const { shrinkPercent } = source.settings.rollout;
    const certificates = this.#nextCertificates();
    const isOther = certificates !== this.#certificatesInForce;
    const without = isOther ? [...this.#certificatesInForce].filter((name) => !certificates.has(name)) : [];
    if ((this.#lost.size + without.length) * 100 <= shrinkPercent * LEAST_OBJECTS) return undefined;
    const routes =
      this.#isPrepared && this.#prepared !== undefined
        ? this.#prepared
        : new Map([...source.mappings].filter(([name]) => isServed(name)).map(([name, { state }]) => [name, state.host]));
    const inForce = { routes: this.#inForce, certificates: this.#certificatesInForce };
    return shrinkOf(inForce, { routes, certificates }, this.#ordered, shrinkPercent);
  }

  #nextCertificates(): ReadonlySet<string> {
    const certificates = this.#options.certificates();
    return certificates === this.#certificates ? this.#certificatesInForce : new Set(certificates.map(({ name }) => name));
  }

  #take(): void {
    const { source, isServed } = this.#options;
    if (this.#prepared !== undefined) this.#inForce = this.#prepared;
    this.#prepared = undefined;
    for (const name of this.#touched) {
      const mapping = source.mappings.get(name);
      if (mapping !== undefined && isServed(name)) this.#inForce.set(name, mapping.state.host);
      else this.#inForce.delete(name);
    }
    this.#certificatesInForce = this.#nextCertificates();
    this.#certificates = this.#options.certificates();
    this.#touched.clear();
    this.#lost.clear();
    this.#ordered.clear();
    this.#writing ??= setTimeout(() => {
      this.#writing = undefined;
      this.#write = this.#write.then(() => this.#note());
    }, WRITE_AFTER_MS);
  }

  async #note(): Promise<void> {
    const { db, log, source } = this.#options;
    const { version } = source;
    const unserved: string[] = [];
    await eachInTurns(source.mappings.keys(), (name) => {
      if (!this.#inForce.has(name)) unserved.push(name);
    });
    // A push is held: what is in force stays noted as it was. Or something has come meanwhile: the note of that follows.
    if (this.#touched.size > 0 || this.#prepared !== undefined || source.version !== version) return;
    const unservedCertificates = [...source.certificates.keys()].filter((name) => !this.#certificatesInForce.has(name));
    try {
      await writeInventory(db, source.gateway, { version, unserved, unservedCertificates });
    } catch (err) {
      log.warn({ err, gateway: source.gateway }, 'what is served could not be noted; the next push notes it');
    }
  }
}
