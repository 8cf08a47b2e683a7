import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';

import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';

import { certificateSubject, removeCertificate } from './certificate.js';

/** Ends a certificate; refused (409 `referenced`) while something uses it, 404 when it is not there. */
export class DeleteCertificate extends Command<Outcome> {
  constructor(
    readonly gateway: string,
    readonly name: string,
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(DeleteCertificate)
export class DeleteCertificateHandler implements ICommandHandler<DeleteCertificate> {
  constructor(private readonly events: EventStore) {}

  execute({ gateway, name, request }: DeleteCertificate): Promise<Outcome> {
    const { context, ...rest } = request;
    const subjects = ['gateway', certificateSubject(name)];
    return this.events.handle(
      { ...rest, stream: `gateway/${gateway}`, subjects, context: { ...context, action: 'DeleteCertificate' } },
      removeCertificate(name),
    );
  }
}
