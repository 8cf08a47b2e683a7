import { inListenerOrder } from '#features/gateway/certificate-choice.envoy.js';
import { clientTrustSecret } from '#features/gateway/tls-secrets.envoy.js';
import type { ServedCertificate } from '#features/layout/certificate-probes.js';
import type { SecretFile } from '#features/rollout/placed-secrets.js';
import type { XdsResource } from '#platform/xds/xds-resource.js';

import type { FoldedCertificate } from '../fold/folded-certificate.js';
import type { LaneSource } from '../fold/lane-source.js';
import type { Opening } from './opened-secrets.js';
import { clientChecks, formsOf, type SecretForms } from './secret-forms.js';

/** The secrets that nodes are to have. The same object as long as they are the same. */
export interface NodeSecrets {
  /** Those without bytes are for nodes that have them. */
  readonly resources: readonly XdsResource[];
  /** The same as files, by the name of the secret. */
  readonly files: ReadonlyMap<string, SecretFile>;
  /** The certificates among them as files that are read once. */
  readonly standing: ReadonlyMap<string, SecretFile>;
  /** In the order of the listener. */
  readonly certificates: readonly ServedCertificate[];
  readonly tickets: boolean;
}

/** Where secrets come from. */
export interface SecretSource {
  certificate(gateway: string, certificate: FoldedCertificate): Opening;
  /** The keys of session tickets; null where there are none. */
  tickets(gateway: string): SecretForms | null | 'waiting';
  /** Envoy refuses what this certificate is: it is not given to another one. */
  refuse(gateway: string, certificate: FoldedCertificate, reason: string): void;
  /** Forgets secrets of a gateway that nothing uses any more. */
  keep(gateway: string, ids: ReadonlySet<string>): void;
}

export const noSecrets: NodeSecrets = { resources: [], files: new Map(), standing: new Map(), certificates: [], tickets: false };

interface Served extends ServedCertificate {
  readonly forms: SecretForms;
}

/**
 * The secrets of one configuration of a gateway. A certificate whose secret is being opened is not there yet, or is there as it was before; the rest goes
 * on without it, and the version with it is not reached. One that cannot be opened stays as it was, or is left to the nodes that have it, or is left out.
 */
export class LaneSecrets {
  readonly #source: LaneSource;
  readonly #secrets: SecretSource;
  #served = new Map<string, Served>();
  /** What was served before that, for what Envoy refuses. */
  readonly #before = new Map<string, Served>();
  #state = noSecrets;
  #key = '';
  #revision = 0;

  constructor(source: LaneSource, secrets: SecretSource) {
    this.#source = source;
    this.#secrets = secrets;
  }

  get state(): NodeSecrets {
    return this.#state;
  }

  /** Counts the changes of the state. */
  get revision(): number {
    return this.#revision;
  }

  /** Takes what is known now. @returns the oldest version that waits for a secret; undefined when nothing waits */
  settle(): number | undefined {
    const { gateway, certificates, settings } = this.#source;
    let waitsFor: number | undefined;
    const served = new Map<string, Served>();
    for (const certificate of certificates.values()) {
      const { name, streamVersion } = certificate;
      const opening = this.#secrets.certificate(gateway, certificate);
      if (opening.state === 'waiting') waitsFor = Math.min(waitsFor ?? streamVersion, streamVersion);
      const one = opening.state === 'waiting' ? undefined : servedOf(certificate, opening);
      const now = one ?? this.#insteadOf(certificate);
      if (now !== undefined) served.set(name, now);
    }
    const inOrder = inListenerOrder(served.values(), settings.tls.defaultCertificate);
    const tickets = inOrder.length === 0 ? null : this.#secrets.tickets(gateway);
    if (tickets === 'waiting') return waitsFor ?? this.#source.version;
    for (const [name, one] of this.#served) if (served.get(name)?.fingerprint !== one.fingerprint) this.#before.set(name, one);
    for (const name of this.#before.keys()) if (!certificates.has(name)) this.#before.delete(name);
    this.#served = served;
    this.#take(inOrder, tickets);
    return waitsFor;
  }

  /** What stays in place of a certificate that is not to be had: what is served now, unless that is the very one. */
  #insteadOf({ name, fingerprint }: FoldedCertificate): Served | undefined {
    const now = this.#served.get(name);
    return now?.fingerprint === fingerprint ? this.#before.get(name) : now;
  }

  #take(inOrder: readonly Served[], tickets: SecretForms | null): void {
    const { clientCertificates: clients } = this.#source.settings.tls;
    const trust = clients === null ? [] : [clientTrustSecret(clients, [...this.#source.principals.values()])];
    const forms = [...inOrder.map((one) => one.forms), ...(tickets === null ? [] : [tickets]), ...trust.map(formsOf)];
    const checks = clientChecks(clients, this.#source.principals.values());
    const resources = forms.map(({ resource }) => resource);
    const facts = inOrder.map(({ name, dns, fingerprint }) => ({ name, dns, fingerprint }));
    const key = JSON.stringify([
      resources.map(({ name, version, value }) => [name, version, value.length]),
      facts,
      checks.map(([, { sha256 }]) => sha256),
    ]);
    if (key === this.#key) return;
    this.#key = key;
    this.#revision += 1;
    const files = new Map(forms.map(({ resource, file }) => [resource.name, file]));
    for (const [name, file] of checks) files.set(name, file);
    const standing = new Map(forms.flatMap(({ resource, standing: file }) => (file === undefined ? [] : [[resource.name, file]])));
    this.#state = { resources, files, standing, certificates: facts, tickets: tickets !== null };
  }
}

function servedOf({ name, dns, fingerprint }: FoldedCertificate, opening: Exclude<Opening, { state: 'waiting' }>): Served | undefined {
  const forms = opening.state === 'open' ? opening.forms : opening.held;
  return forms === undefined ? undefined : { name, dns, fingerprint, forms };
}
