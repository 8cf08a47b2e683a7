import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';

import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';

import { ACCESS_STREAM, revokeToken, tokenSubject } from './access.js';

/** Ends a token. Every process refuses it within 5 s. */
export class RevokeToken extends Command<Outcome> {
  constructor(
    readonly id: string,
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(RevokeToken)
export class RevokeTokenHandler implements ICommandHandler<RevokeToken> {
  constructor(private readonly events: EventStore) {}

  /** @throws DomainError not_found `token_not_found`. */
  execute({ id, request }: RevokeToken): Promise<Outcome> {
    const { precondition } = request;
    return this.events.handle(
      {
        stream: ACCESS_STREAM,
        subjects: [tokenSubject(id)],
        context: { ...request.context, action: 'RevokeToken' },
        ...(precondition === undefined ? {} : { precondition }),
        dryRun: request.dryRun,
      },
      revokeToken(id, new Date().toISOString()),
    );
  }
}
