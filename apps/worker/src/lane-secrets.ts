import { inListenerOrder } from '#features/gateway/certificate-choice.js';
import { clientTrustSecret } from '#features/gateway/tls-secrets.envoy.js';
import type { ServedCertificate } from '#features/layout/certificate-probes.js';
import { toResource } from '#features/layout/upstream-resources.js';
import { secretMessage } from '#platform/envoy/wire/tls-messages.js';
import { SECRET_TYPE, type XdsResource } from '#platform/xds/xds-resource.js';

import type { FoldedCertificate } from './folded-certificate.js';
import type { LaneSource } from './live-lane.js';
import type { Opening } from './opened-secrets.js';

/** The secrets that nodes are to have. The same object as long as they are the same. */
export interface NodeSecrets {
  /** Those without bytes are for nodes that have them. */
  readonly resources: readonly XdsResource[];
  /** In the order of the listener. */
  readonly certificates: readonly ServedCertificate[];
  readonly tickets: boolean;
}

/** Where secrets come from. */
export interface SecretSource {
  certificate(gateway: string, certificate: FoldedCertificate): Opening;
  /** The keys of session tickets; null where there are none. */
  tickets(gateway: string): XdsResource | null | 'waiting';
  /** Forgets secrets of a gateway that nothing uses any more. */
  keep(gateway: string, ids: ReadonlySet<string>): void;
}

export const noSecrets: NodeSecrets = { resources: [], certificates: [], tickets: false };

interface Served extends ServedCertificate {
  readonly resource: XdsResource;
}

/**
 * The secrets of one configuration of a gateway. A certificate whose secret is being opened is not there yet, or is there as it was before; the rest goes
 * on without it, and the version with it is not reached. One that cannot be opened stays as it was, or is left to the nodes that have it, or is left out.
 */
export class LaneSecrets {
  readonly #source: LaneSource;
  readonly #secrets: SecretSource;
  #served = new Map<string, Served>();
  #state = noSecrets;
  #key = '';

  constructor(source: LaneSource, secrets: SecretSource) {
    this.#source = source;
    this.#secrets = secrets;
  }

  get state(): NodeSecrets {
    return this.#state;
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
      const now = one ?? this.#served.get(name);
      if (now !== undefined) served.set(name, now);
    }
    const inOrder = inListenerOrder(served.values(), settings.tls.defaultCertificate);
    const tickets = inOrder.length === 0 ? null : this.#secrets.tickets(gateway);
    if (tickets === 'waiting') return waitsFor ?? this.#source.version;
    this.#served = served;
    this.#take(inOrder, tickets);
    return waitsFor;
  }

  #take(inOrder: readonly Served[], tickets: XdsResource | null): void {
    const { clientCertificates: clients } = this.#source.settings.tls;
    const trust = clients === null ? [] : [clientTrustSecret(clients, [...this.#source.principals.values()])];
    const resources = [
      ...inOrder.map(({ resource }) => resource),
      ...(tickets === null ? [] : [tickets]),
      ...trust.map((model) => toResource({ typeUrl: SECRET_TYPE, name: model.name }, secretMessage, model)),
    ];
    const facts = inOrder.map(({ name, dns, fingerprint }) => ({ name, dns, fingerprint }));
    const key = JSON.stringify([resources.map(({ name, version }) => [name, version]), facts]);
    if (key === this.#key) return;
    this.#key = key;
    this.#state = { resources, certificates: facts, tickets: tickets !== null };
  }
}

function servedOf({ name, dns, fingerprint }: FoldedCertificate, opening: Exclude<Opening, { state: 'waiting' }>): Served | undefined {
  const resource = opening.state === 'open' ? opening.resource : opening.held;
  return resource === undefined ? undefined : { name, dns, fingerprint, resource };
}
