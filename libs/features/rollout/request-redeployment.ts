import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';

import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';
import { DomainError } from '#platform/kernel/errors.js';

/** What is asked for. Without `targets`: every target of the gateway that is not retired when a worker takes the request up. */
export interface RedeploymentInput {
  /** The request's own name, a UUID: the subject `redeployment/<id>`. */
  readonly id: string;
  readonly targets?: readonly string[] | undefined;
  readonly reason: string;
  /** Restart even if nothing changed, and at once, without waiting for the drain of the restart before: a cut that is recorded as one. */
  readonly force: boolean;
}

/** State of `redeployment/<id>` in the stream `deployments/<gateway>`. */
export interface RedeploymentState {
  readonly targets: readonly string[] | null;
  readonly reason: string;
  readonly force: boolean;
  readonly [key: string]: string | boolean | null | readonly string[];
}

/** Asks the workers to push the current version again. The answer is the record of the wish, not of its fulfilment. */
export class RequestRedeployment extends Command<Outcome> {
  constructor(
    readonly gateway: string,
    readonly input: RedeploymentInput,
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(RequestRedeployment)
export class RequestRedeploymentHandler implements ICommandHandler<RequestRedeployment> {
  constructor(private readonly events: EventStore) {}

  /** @throws DomainError conflict `redeployment_exists` for an id that was used before. */
  execute({ gateway, input, request }: RequestRedeployment): Promise<Outcome> {
    const subject = `redeployment/${input.id}`;
    return this.events.handle(
      {
        stream: `deployments/${gateway}`,
        subjects: [subject],
        context: { ...request.context, action: 'RequestRedeployment', reason: request.context.reason ?? input.reason },
        ...(request.precondition === undefined ? {} : { precondition: request.precondition }),
        dryRun: request.dryRun,
      },
      (view) => {
        if (view.subject(subject).version > 0)
          throw new DomainError('conflict', 'redeployment_exists', 'A redeployment of this id was requested before.');
        const state: RedeploymentState = { targets: input.targets ?? null, reason: input.reason, force: input.force };
        return [{ type: 'RedeploymentRequested', schemaVersion: 1, subject, state }];
      },
    );
  }
}
