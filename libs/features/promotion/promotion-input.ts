import { z } from 'zod';

import { readBody } from '#platform/http/body-shape.js';
import { DomainError } from '#platform/kernel/errors.js';

import type { RolloutOrder } from './switch-rollout.js';

const MAX_REASON = 1_000;
const reason = z.string().describe('Why; kept in the record.');

/** The body of POST /v1/gateways/{gateway}/rollout/freeze, unfreeze, halt and resume. */
export const ReasonBody = z.strictObject({ reason });

/** The body of POST /v1/gateways/{gateway}/rollout/promote. */
export const PromoteBody = z.strictObject({ version: z.int().optional().describe('Left out: the newest.'), reason });

/** The body of POST /v1/gateways/{gateway}/rollout/pins. */
export const PinBody = z.strictObject({ target: z.string().describe('The target that stays at the version.'), version: z.int(), reason });

/** The body of POST /v1/gateways/{gateway}/rollout/hold/confirm. */
export const ConfirmPushBody = z.strictObject({
  hold: z
    .string()
    .optional()
    .describe('The id of the hold that was looked at; another one is then not confirmed. Left out: whichever there is.'),
  reason,
});

/** @throws DomainError malformed (shape, also `reason_malformed`) or invalid `reason_required`; so all of these. */
export function parseReason<K extends 'freeze' | 'unfreeze' | 'halt' | 'resume'>(kind: K, body: unknown): RolloutOrder {
  return { kind, reason: readReason(readBody(ReasonBody, body).reason) };
}

export function parsePromote(body: unknown): RolloutOrder {
  const { version, reason: why } = readBody(PromoteBody, body);
  return { kind: 'promote', version, reason: readReason(why) };
}

export function parsePin(body: unknown): RolloutOrder {
  const { target, version, reason: why } = readBody(PinBody, body);
  return { kind: 'pin', target: readTarget(target), version, reason: readReason(why) };
}

export function parseConfirmPush(body: unknown): RolloutOrder {
  const { hold, reason: why } = readBody(ConfirmPushBody, body);
  return { kind: 'confirm', hold, reason: readReason(why) };
}

/** What cannot be the name of any target does not come as far as the log. */
function readTarget(name: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) return name;
  throw invalid('/target', 'target_not_found', 'No target can be called this; GET targets lists them.');
}

function readReason(text: string): string {
  if (text.trim() === '') throw invalid('/reason', 'reason_required', 'Say why: whoever reads the record later will want to know.');
  if (text.length <= MAX_REASON && !/[\p{Cc}\p{Cs}]/u.test(text.replaceAll(/[\t\n]/g, ' '))) return text;
  const message = `The reason must be at most ${MAX_REASON} characters of text without control characters.`;
  throw new DomainError('malformed', 'reason_malformed', message, { errors: [{ pointer: '/reason', code: 'reason_malformed', message }] });
}

function invalid(pointer: string, code: string, message: string): DomainError {
  return new DomainError('invalid', code, message, { errors: [{ pointer, code, message }] });
}
