import { DomainError } from '#platform/kernel/errors.js';

import type { HandleRequest } from './command.js';

/** Names and ids share statements with other callers', so what the wire cannot carry is refused before it gets there. */
export function checkStorable({ stream, subjects, context, precondition }: HandleRequest): void {
  const { commandId, action, actor, reason, requestId, idempotencyKey, fingerprint } = context;
  const texts = { stream, action, actor, reason, requestId, idempotencyKey, fingerprint };
  for (const [name, text] of Object.entries(texts)) checkText(name, text);
  for (const subject of subjects) checkText('subject', subject);
  for (const subject of Object.keys(precondition?.subjects ?? {})) checkText('subject', subject);
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(commandId))
    throw new Error(`commandId ${JSON.stringify(commandId)} is not a UUID`);
  if (idempotencyKey && !fingerprint) throw new Error('an idempotency key needs the fingerprint of its request');
}

/** @throws DomainError invalid `unstorable`. */
export function checkText(name: string, text: string | null | undefined): void {
  if (!text || (!text.includes('\0') && !/\p{Surrogate}/u.test(text))) return;
  const message = `${name} ${JSON.stringify(text)} holds a NUL or half a character, which the database cannot store.`;
  throw new DomainError('invalid', 'unstorable', message);
}
