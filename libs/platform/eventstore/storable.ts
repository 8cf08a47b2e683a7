import { DomainError } from '#platform/kernel/errors.js';

import type { HandleRequest } from './command.js';

/** Names and ids share statements with other callers', so what the wire cannot carry is refused before it gets there. */
export function checkStorable({ stream, subjects, context, precondition }: HandleRequest): void {
  const { commandId, action, actor, reason, requestId, idempotencyKey, fingerprint } = context;
  const texts: [string, string | null | undefined][] = [
    ['stream', stream],
    ['action', action],
    ['actor', actor],
    ['reason', reason],
    ['requestId', requestId],
    ['idempotencyKey', idempotencyKey],
    ['fingerprint', fingerprint],
  ];
  for (const subject of subjects) texts.push(['subject', subject]);
  for (const subject of Object.keys(precondition?.subjects ?? {})) texts.push(['subject', subject]);
  for (const [name, text] of texts) {
    if (text && (text.includes('\0') || /\p{Surrogate}/u.test(text))) {
      throw new DomainError(
        'invalid',
        'unstorable',
        `${name} ${JSON.stringify(text)} holds a NUL or half a character, which the database cannot store.`,
      );
    }
  }
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(commandId))
    throw new Error(`commandId ${JSON.stringify(commandId)} is not a UUID`);
  if (idempotencyKey && !fingerprint) throw new Error('an idempotency key needs the fingerprint of its request');
}
