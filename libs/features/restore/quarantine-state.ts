import { Inject } from '@nestjs/common';
import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';

import { SubjectKinds } from '#features/history/subject-kind.js';
import type { Db } from '#platform/database/database.js';
import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';
import { stateAt } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';
import { contentHash } from '#platform/kernel/digest.js';
import { DomainError } from '#platform/kernel/errors.js';

import { rolloutStream } from './confirmation.js';
import { quarantineId, quarantineState, quarantineSubject } from './quarantine.js';

/** Which state: a subject's at a version of the gateway, or the one with this digest. */
export interface QuarantineInput {
  readonly subject: string;
  readonly at: { readonly version: number } | { readonly digest: string };
  readonly reason: string;
}

/** Puts a state of a subject under quarantine: nothing brings it back unless somebody says so with a reason. */
export class QuarantineState extends Command<Outcome> {
  constructor(
    readonly gateway: string,
    readonly input: QuarantineInput,
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(QuarantineState)
export class QuarantineStateHandler implements ICommandHandler<QuarantineState> {
  constructor(
    private readonly events: EventStore,
    private readonly kinds: SubjectKinds,
    @Inject(DB) private readonly db: Db,
  ) {}

  /** @throws DomainError invalid `subject_unknown`, `state_not_found`; and as `EventStore.handle`. */
  async execute({ gateway, input, request }: QuarantineState): Promise<Outcome> {
    const { subject, at, reason } = input;
    const kind = this.kinds.of(subject);
    if (kind === undefined) {
      const kinds = this.kinds.all.map(({ name, isNamed }) => (isNamed ? `${name}/<name>` : name)).join(', ');
      throw invalid('/subject', 'subject_unknown', `A subject of a gateway's configuration is one of ${kinds}.`);
    }
    const digest = 'digest' in at ? at.digest : await this.digestAt(gateway, subject, at.version);
    const id = quarantineId({ subject, digest });
    const gatewayVersion = 'version' in at ? at.version : null;
    const { context, ...rest } = request;
    return await this.events.handle(
      {
        ...rest,
        stream: rolloutStream(gateway),
        subjects: [quarantineSubject(id)],
        context: { ...context, action: 'QuarantineState', reason },
      },
      quarantineState({ id, subject, digest, reason, gatewayVersion, quarantinedBy: context.actor }),
    );
  }

  private async digestAt(gateway: string, subject: string, version: number): Promise<string> {
    const found = (await stateAt(this.db, `gateway/${gateway}`, version)).find((record) => record.subject === subject);
    const state = found?.state ?? null;
    if (found === undefined || state === null)
      throw invalid('/version', 'state_not_found', `There was no ${subject} at version ${version} of this gateway.`);
    return contentHash(this.kinds.of(subject)?.upcast(state, found.schemaVersion) ?? state);
  }
}

function invalid(pointer: string, code: string, message: string): DomainError {
  return new DomainError('invalid', code, message, { errors: [{ pointer, code, message }] });
}
