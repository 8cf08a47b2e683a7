import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';

import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';
import { DomainError } from '#platform/kernel/errors.js';

import { ACCESS_STREAM, createToken, MAX_TOKEN_DAYS, type TokenState, tokenSubject } from './access.js';
import { newToken, secretHash } from './token-format.js';
import type { TokenInput } from './token-input.js';

const DAY_MS = 86_400_000;

/** A token that was just made. `secret` is the whole text `chy_...`, and this is the only time that anyone sees it. */
export interface IssuedToken {
  readonly secret: string;
  readonly state: TokenState;
  readonly outcome: Outcome;
}

/**
 * Makes a token. The command line uses this too, straight on the database, for the first one.
 * @param now The time, in ms since 1970: `Date.now()`.
 * @throws DomainError conflict `secret_shown_once` when the Idempotency-Key was answered before: the secret is kept nowhere, so it
 * cannot be shown again. Revoke the token that `tokenId` names and make another.
 */
export async function issueToken(events: EventStore, input: TokenInput, request: CommandRequest, now: number): Promise<IssuedToken> {
  const token = newToken();
  const days = Math.min(input.expiresInDays, MAX_TOKEN_DAYS);
  const state: TokenState = {
    id: token.id,
    name: input.name,
    scopes: input.scopes,
    secretSha256: secretHash(token.secret).toString('hex'),
    createdAt: new Date(now).toISOString(),
    expiresAt: new Date(now + days * DAY_MS).toISOString(),
    createdBy: request.context.actor,
    revokedAt: null,
    firstUsedAt: null,
  };
  const subject = tokenSubject(token.id);
  const outcome = await events.handle(
    { stream: ACCESS_STREAM, subjects: [subject], context: { ...request.context, action: 'CreateToken' }, dryRun: request.dryRun },
    createToken(state),
  );
  if (outcome.replayed) {
    const tokenId = outcome.events[0]?.subject.slice('token/'.length);
    throw new DomainError(
      'conflict',
      'secret_shown_once',
      'This request was answered before, and a secret is shown once. Revoke that token and make another.',
      {
        extra: { tokenId },
      },
    );
  }
  return { secret: token.text, state, outcome };
}

export class CreateToken extends Command<IssuedToken> {
  constructor(
    readonly input: TokenInput,
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(CreateToken)
export class CreateTokenHandler implements ICommandHandler<CreateToken> {
  constructor(private readonly events: EventStore) {}

  execute({ input, request }: CreateToken): Promise<IssuedToken> {
    return issueToken(this.events, input, request, Date.now());
  }
}
