import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';

import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';

import { rolloutStream } from './confirmation.js';
import { liftQuarantine, quarantineSubject } from './quarantine.js';

/** Lets a state come back that was under quarantine. */
export class LiftQuarantine extends Command<Outcome> {
  constructor(
    readonly gateway: string,
    readonly id: string,
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(LiftQuarantine)
export class LiftQuarantineHandler implements ICommandHandler<LiftQuarantine> {
  constructor(private readonly events: EventStore) {}

  /** @throws DomainError not_found `quarantine_not_found`; and as `EventStore.handle`. */
  execute({ gateway, id, request }: LiftQuarantine): Promise<Outcome> {
    const { context, ...rest } = request;
    const subjects = [quarantineSubject(id)];
    return this.events.handle(
      { ...rest, stream: rolloutStream(gateway), subjects, context: { ...context, action: 'LiftQuarantine' } },
      liftQuarantine(id),
    );
  }
}
