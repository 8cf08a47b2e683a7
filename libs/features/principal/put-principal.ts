import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';

import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';

import { type PrincipalState, principalSubject, putPrincipal } from './principal.js';

/** Creates a principal or replaces it; refused (409) when another one has its certificate. */
export class PutPrincipal extends Command<Outcome> {
  constructor(
    readonly gateway: string,
    readonly state: PrincipalState,
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(PutPrincipal)
export class PutPrincipalHandler implements ICommandHandler<PutPrincipal> {
  constructor(private readonly events: EventStore) {}

  execute({ gateway, state, request }: PutPrincipal): Promise<Outcome> {
    const { context, ...rest } = request;
    const subjects = ['gateway', principalSubject(state.name)];
    return this.events.handle(
      { ...rest, stream: `gateway/${gateway}`, subjects, context: { ...context, action: 'PutPrincipal' } },
      putPrincipal(state),
    );
  }
}
