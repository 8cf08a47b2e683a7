import type { NewEvent, View } from '#platform/eventstore/event-store.js';
import type { JsonObject } from '#platform/kernel/json.js';

/** That a certificate was warned about, as the stream `certificates/<gateway>` keeps it: once for each threshold and certificate. */
export interface ExpiryWarning extends JsonObject {
  readonly certificate: string;
  readonly fingerprint: string;
  readonly notAfter: string;
  /** The threshold that was reached: 30, 14, 7 or 1 days before the end; 0: it has expired. */
  readonly days: number;
}

/** The stream of what happens to a gateway's certificates by itself. Nothing in it is configuration, so that nothing of it is ever restored. */
export function certificatesStream(gateway: string): string {
  return `certificates/${gateway}`;
}

export function expirySubject(certificate: string): string {
  return `expiry/${certificate}`;
}

/** Records a warning; nothing to do when this certificate was warned about at this threshold, or at a later one, before. */
export const warnOfExpiry =
  (warning: ExpiryWarning) =>
  (view: View): NewEvent[] => {
    const subject = expirySubject(warning.certificate);
    const last = view.subject(subject).state as ExpiryWarning | null;
    if (last !== null && last.fingerprint === warning.fingerprint && last.days <= warning.days) return [];
    return [{ type: 'CertExpiryWarned', schemaVersion: 1, subject, state: warning }];
  };
