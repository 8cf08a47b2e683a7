import type { CertificateFacts } from './certificate.js';

/** How many days before its end a certificate is warned about, each once. */
export const WARNING_DAYS = [30, 14, 7, 1] as const;

const DAY_MS = 86_400_000;

/** How a certificate stands at a time. `daysLeft` is whole days, negative once it has expired. */
export interface ExpiryState {
  readonly expiresAt: string;
  readonly daysLeft: number;
  readonly state: 'valid' | 'expiring' | 'expired';
}

/** `expiring`: within the first of the warnings. */
export function expiryOf({ notAfter }: Pick<CertificateFacts, 'notAfter'>, now: Date): ExpiryState {
  const leftMs = Date.parse(notAfter) - now.getTime();
  const state = leftMs <= 0 ? 'expired' : leftMs < WARNING_DAYS[0] * DAY_MS ? 'expiring' : 'valid';
  return { expiresAt: notAfter, daysLeft: Math.floor(leftMs / DAY_MS), state };
}

/** The smallest threshold that is reached: 0 when it has expired; undefined while there is time. */
export function thresholdOf({ notAfter }: Pick<CertificateFacts, 'notAfter'>, now: Date): number | undefined {
  const leftMs = Date.parse(notAfter) - now.getTime();
  if (leftMs <= 0) return 0;
  return WARNING_DAYS.findLast((days) => leftMs < days * DAY_MS);
}
