import { z } from 'zod';

import { readBody } from '#platform/http/body-shape.js';
import { durationParameter } from '#platform/http/write-request.js';
import { DomainError } from '#platform/kernel/errors.js';

import type { QuarantineInput } from './quarantine-state.js';

const MAX_REASON = 1_000;

const goingBack = {
  reason: z.string().describe('Why; kept in the record.'),
  confirmWithin: z.string().optional().describe('Undo it by itself unless it is confirmed within this time: 90s, 5m, 1h. As in the query.'),
  overrideQuarantine: z.boolean().optional().describe('true: bring back states that are under quarantine. Kept in the record.'),
};

/** The body of POST /v1/gateways/{gateway}/rollbacks. */
export const RollbackBody = z.strictObject({
  toVersion: z.int().describe('The version whose configuration is restored.'),
  includeCertificates: z
    .boolean()
    .optional()
    .describe(
      'true: certificates go back too, but for those that were removed since or have expired. Otherwise they stay as they are now.',
    ),
  ...goingBack,
});

/** The body of POST /v1/gateways/{gateway}/reverts. */
export const RevertBody = z.strictObject({ version: z.int().describe('The version that is undone, and no other.'), ...goingBack });

/** The body of POST /v1/gateways/{gateway}/versions/{version}/confirm. */
export const ConfirmBody = z.strictObject({ reason: z.string().optional().describe('Why; kept in the record.') });

/** The body of POST /v1/gateways/{gateway}/quarantines. */
export const QuarantineBody = z.strictObject({
  subject: z.string().describe('For instance mapping/user.'),
  version: z.int().optional().describe('The state that it had at this version of the gateway. Exactly one of version and digest.'),
  digest: z.string().optional().describe('The state with this content hash: 64 hexadecimal digits.'),
  reason: z.string().describe('Why; kept in the record, and told to who is refused.'),
});

export interface GoingBack {
  /** The version that the body names. */
  readonly version: number;
  readonly reason: string;
  readonly confirmWithinMs: number | undefined;
  readonly overrideQuarantine: boolean;
}

/** @throws DomainError malformed (shape) or invalid `reason_required`, `confirm_within_invalid`. */
export function parseRollback(body: unknown): GoingBack & { readonly includeCertificates: boolean } {
  const { toVersion, includeCertificates = false, ...rest } = readBody(RollbackBody, body);
  return { ...whole(toVersion, rest), includeCertificates };
}

/** As `parseRollback`. */
export function parseRevert(body: unknown): GoingBack {
  const { version, ...rest } = readBody(RevertBody, body);
  return whole(version, rest);
}

function whole(
  version: number,
  rest: { reason: string; confirmWithin?: string | undefined; overrideQuarantine?: boolean | undefined },
): GoingBack {
  const { reason, confirmWithin, overrideQuarantine = false } = rest;
  return { version, reason: readReason(reason), confirmWithinMs: readDuration(confirmWithin), overrideQuarantine };
}

/** @throws DomainError malformed. */
export function parseConfirm(body: unknown): { readonly reason: string | undefined } {
  const { reason } = readBody(ConfirmBody, body);
  return { reason: reason === undefined || reason === '' ? undefined : readReason(reason) };
}

/** @throws DomainError malformed (shape) or invalid `subject_unknown`, `version_or_digest`, `digest_invalid`, `version_not_found`, `reason_required`. */
export function parseQuarantine(body: unknown): QuarantineInput {
  const { subject, version, digest, reason } = readBody(QuarantineBody, body);
  if (!/^[\x21-\x7e]{1,300}$/.test(subject)) throw invalid('/subject', 'subject_unknown', 'No subject can be called this.');
  if ((version === undefined) === (digest === undefined)) {
    throw invalid('/version', 'version_or_digest', 'Say which state: "version" (the one it had then) or "digest", and not both.');
  }
  if (digest !== undefined && !/^[0-9a-f]{64}$/.test(digest))
    throw invalid('/digest', 'digest_invalid', 'A digest is 64 hexadecimal digits in lower case.');
  if (version !== undefined && version < 1) throw versionNotFound('/version', version);
  return { subject, at: digest === undefined ? { version: version as number } : { digest }, reason: readReason(reason) };
}

/** What a body names and is not there; the address itself is right, so it is no 404. */
export function versionNotFound(pointer: string, version: number): DomainError {
  return invalid(pointer, 'version_not_found', `This gateway has no version ${version}; GET versions lists them.`);
}

function readReason(text: string): string {
  if (text.trim() === '') throw invalid('/reason', 'reason_required', 'Say why: whoever reads the record later will want to know.');
  if (text.length <= MAX_REASON && !/[\p{Cc}\p{Cs}]/u.test(text.replaceAll(/[\t\n]/g, ' '))) return text;
  const message = `The reason must be at most ${MAX_REASON} characters of text without control characters.`;
  throw new DomainError('malformed', 'reason_malformed', message, { errors: [{ pointer: '/reason', code: 'reason_malformed', message }] });
}

function readDuration(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const read = durationParameter.safeParse(text);
  if (read.success) return read.data;
  throw invalid('/confirmWithin', 'confirm_within_invalid', `confirmWithin ${read.error.issues[0]?.message ?? 'cannot be read'}.`);
}

function invalid(pointer: string, code: string, message: string): DomainError {
  return new DomainError('invalid', code, message, { errors: [{ pointer, code, message }] });
}
