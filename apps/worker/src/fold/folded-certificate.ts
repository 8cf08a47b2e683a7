import type { JsonObject } from '#platform/kernel/json.js';

/** A certificate as it stands in a gateway, as far as Envoys are given it. */
export interface FoldedCertificate {
  readonly name: string;
  /** SHA-256 of the certificate itself, lower-case hexadecimal. */
  readonly fingerprint: string;
  readonly dns: readonly string[];
  /** Where its key is kept. */
  readonly secret: { readonly id: string; readonly version: number };
  readonly streamVersion: number;
}

/** A certificate out of the log; undefined for a state that says nowhere where its key is. */
export function foldedCertificate(name: string, state: JsonObject, streamVersion: number): FoldedCertificate | undefined {
  const { id, version } = members(state.secret);
  if (typeof id !== 'string' || typeof version !== 'number') return undefined;
  const { dns } = members(state.sans);
  return {
    name,
    fingerprint: typeof state.fingerprint === 'string' ? state.fingerprint.replaceAll(':', '').toLowerCase() : '',
    dns: Array.isArray(dns) ? dns.filter((one) => typeof one === 'string') : [],
    secret: { id, version },
    streamVersion,
  };
}

function members(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
