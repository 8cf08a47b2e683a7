import type { NewEvent, View } from '#platform/eventstore/event-store.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { JsonObject } from '#platform/kernel/json.js';

/** What everybody may know of a certificate. */
export interface CertificateFacts extends JsonObject {
  /** SHA-256 of the certificate itself (the leaf), as 64 hexadecimal digits. */
  readonly fingerprint: string;
  /** The same of the whole chain: SHA-256 of its certificates one after the other. */
  readonly chainFingerprint: string;
  readonly serial: string;
  readonly subject: string;
  readonly sans: { readonly dns: readonly string[]; readonly ip: readonly string[] };
  readonly issuer: string;
  /** ISO 8601, UTC. */
  readonly notBefore: string;
  readonly notAfter: string;
  /** `RSA 2048`, `EC P-256`, `Ed25519`. */
  readonly keyAlgorithm: string;
  readonly chainLength: number;
}

/** A certificate as the log holds it: its facts, and where chain and key are kept. Never the key. */
export interface CertificateState extends CertificateFacts {
  readonly name: string;
  readonly source: 'api' | 'kubernetes';
  readonly secret: { readonly id: string; readonly version: number };
}

/** A certificate as it is shown. A list of members, so that none that the state may get later is shown by itself. */
export type PublicCertificate = Pick<CertificateState, (typeof shown)[number]>;

const shown = [
  'name',
  'fingerprint',
  'chainFingerprint',
  'serial',
  'subject',
  'sans',
  'issuer',
  'notBefore',
  'notAfter',
  'keyAlgorithm',
  'chainLength',
  'source',
] as const;
const schemaVersion = 1;

/** What of a certificate is shown. */
export function publicFacts(state: CertificateState): PublicCertificate {
  return Object.fromEntries(shown.map((member) => [member, state[member]])) as unknown as PublicCertificate;
}

/** The subject of a certificate in its gateway's stream. */
export function certificateSubject(name: string): string {
  return `certificate/${name}`;
}

/** Whether one of these names of a certificate is this host of a mapping (exact, or `*.suffix`), or covers it with a star for its first label. */
export function coversHost(names: readonly string[], host: string): boolean {
  return names.includes(host) || (!host.startsWith('*') && names.includes(`*${host.slice(host.indexOf('.'))}`));
}

/**
 * Sets a certificate, or exchanges the one of its name; nothing to do when chain and key are the same. `lost`: the id of a secret that cannot be opened any
 * more; a certificate that rests on it is set again, though it is the same. @throws DomainError not_found `gateway_not_found`.
 */
export const rotateCertificate =
  (state: CertificateState, lost?: string) =>
  (view: View): NewEvent[] => {
    requireGateway(view);
    const subject = certificateSubject(state.name);
    const present = view.subject(subject).state as CertificateState | null;
    const before = present !== null && present.secret.id === lost ? null : present;
    const event = certificateTransition(subject, before, state);
    return event === undefined ? [] : [event];
  };

/** Ends a certificate. Whether something still uses it is the append's to say. @throws DomainError not_found `certificate_not_found`, `gateway_not_found`. */
export const removeCertificate =
  (name: string) =>
  (view: View): NewEvent[] => {
    requireGateway(view);
    const subject = certificateSubject(name);
    const event = certificateTransition(subject, view.subject(subject).state, null);
    if (event === undefined) throw new DomainError('not_found', 'certificate_not_found', `There is no certificate ${name}.`);
    return [event];
  };

/** The event that takes a certificate from one state to another (null: it does not live); undefined when chain and key are the same. */
export function certificateTransition(subject: string, before: JsonObject | null, after: JsonObject | null): NewEvent | undefined {
  if (after === null) return before === null ? undefined : { type: 'CertRemoved', schemaVersion, subject, state: null };
  // The key belongs to the leaf, so that equal chains have equal keys, however either was written.
  if (before !== null && before.chainFingerprint === after.chainFingerprint) return undefined;
  return { type: 'CertRotated', schemaVersion, subject, state: after };
}

function requireGateway(view: View): void {
  if (view.subject('gateway').state === null)
    throw new DomainError('not_found', 'gateway_not_found', 'There is no such gateway; create it first.');
}
