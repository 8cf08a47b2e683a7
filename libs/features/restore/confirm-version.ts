import { Inject } from '@nestjs/common';
import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';
import { DB, LOG } from '#platform/http/tokens.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Log } from '#platform/log/log.js';

import { confirmationSubject, confirmVersion, rolloutStream } from './confirmation.js';
import { noteSettled, readAwaited } from './confirmation.table.js';

/** Keeps a version that would be undone by itself. */
export class ConfirmVersion extends Command<Outcome> {
  constructor(
    readonly gateway: string,
    readonly version: number,
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(ConfirmVersion)
export class ConfirmVersionHandler implements ICommandHandler<ConfirmVersion> {
  constructor(
    private readonly events: EventStore,
    @Inject(DB) private readonly db: Db,
    @Inject(LOG) private readonly log: Log,
  ) {}

  /** @throws DomainError not_found `confirmation_not_found`; conflict `confirmation_expired`; and as `EventStore.handle`. */
  async execute({ gateway, version, request }: ConfirmVersion): Promise<Outcome> {
    const awaited = await readAwaited(this.db, gateway, version);
    if (awaited === undefined) {
      throw new DomainError('not_found', 'confirmation_not_found', 'Nobody asked for a version of this number to be confirmed.');
    }
    const { context, ...rest } = request;
    const by = { actor: context.actor, reason: context.reason ?? null, isOverdue: awaited.isOverdue };
    const outcome = await this.events.handle(
      {
        ...rest,
        stream: rolloutStream(gateway),
        subjects: [confirmationSubject(version)],
        context: { ...context, action: 'ConfirmVersion' },
      },
      confirmVersion(awaited, by),
    );
    if (!outcome.dryRun) {
      // Only a note: the log has decided, and a worker that finds the row open at its deadline notes it then.
      await noteSettled(this.db, awaited, 'confirmed').catch((err: unknown) =>
        this.log.warn({ err, gateway, version }, 'a confirmation is recorded and not noted in its row yet'),
      );
    }
    return outcome;
  }
}
