import { sha256Hex } from '#platform/kernel/digest.js';
import { DeliveryRefusal } from '#platform/xds/agent-connection.js';
import type { LiveName, LiveRelease } from '#platform/xds/generated/delivery.js';
import { ResourceSet } from '#platform/xds/resource-set.js';
import type { XdsResource } from '#platform/xds/xds-resource.js';

export interface LiveRefusal {
  readonly resources: readonly LiveName[];
  readonly detail: string;
}

/** What a scripted agent holds of live releases: it keeps the set as the real one does, and checks every digest that it is told. */
export class ScriptedLive {
  readonly releases: LiveRelease[] = [];
  set = new ResourceSet();
  bootstrapSha256 = '';
  /** Accepted and not proven yet, oldest first. */
  unproven: LiveRelease[] = [];

  get digest(): string {
    return this.set.size === 0 ? '' : this.set.digest;
  }

  /** The text of a resource; '' when it is not there. */
  text(typeUrl: string, name: string): string {
    return this.set.get({ typeUrl, name })?.value.toString('latin1') ?? '';
  }

  /** Whether some resource of the type holds this text. */
  holds(typeUrl: string, text: string): boolean {
    return [...this.set.ofType(typeUrl).values()].some(({ value }) => value.includes(text));
  }

  /** @throws DeliveryRefusal for a base that is not what is held. */
  accept(release: LiveRelease): void {
    if (release.baseDigest !== '' && release.baseDigest !== this.set.digest)
      throw new DeliveryRefusal(`base_mismatch: ${this.set.digest} is held`);
    const missing = release.changed.filter((item) => item.value.length === 0 && !this.#has(item));
    if (missing.length > 0) throw new DeliveryRefusal(`secret_missing: ${missing.map(({ name }) => name).join(', ')}`);
    const upserts = release.changed.map((item): XdsResource => {
      const { typeUrl, name, sha256, needs } = item;
      const value = item.value.length === 0 ? (this.set.get(item)?.value ?? item.value) : item.value;
      if (sha256Hex(value) !== sha256.toString('hex')) throw new DeliveryRefusal(`damaged: ${name}`);
      return { typeUrl, name, version: sha256.toString('hex'), value: Buffer.from(value), needs };
    });
    const set = release.baseDigest === '' ? ResourceSet.of(upserts) : this.set;
    if (set === this.set) set.apply({ upserts, removed: release.removed });
    if (set.digest !== release.digest) throw new DeliveryRefusal(`digest: ${set.digest} and not ${release.digest}`);
    if (release.bootstrap.length > 0 && sha256Hex(release.bootstrap) !== release.bootstrapSha256)
      throw new DeliveryRefusal('bootstrap: damaged');
    if (release.bootstrap.length === 0 && release.bootstrapSha256 !== this.bootstrapSha256)
      throw new DeliveryRefusal('bootstrap: not here');
    this.set = set;
    this.bootstrapSha256 = release.bootstrapSha256;
    this.releases.push(release);
    this.unproven.push(release);
  }

  #has(item: LiveRelease['changed'][number]): boolean {
    return this.set.get(item)?.version === item.sha256.toString('hex');
  }

  /** The release that one proof shows now, with the first version that it covers; undefined when there is nothing to prove. */
  takeUnproven(): { release: LiveRelease; coversFrom: number } | undefined {
    const [first] = this.unproven;
    const newest = this.unproven.at(-1);
    this.unproven = [];
    return first === undefined || newest === undefined ? undefined : { release: newest, coversFrom: first.coversFrom };
  }
}
