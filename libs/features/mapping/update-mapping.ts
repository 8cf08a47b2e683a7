import { Optional } from '@nestjs/common';
import { Command, CommandHandler, type ICommandHandler, QueryBus } from '@nestjs/cqrs';

import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { type Decide, EventStore, type Outcome } from '#platform/eventstore/event-store.js';
import { unreachable } from '#platform/kernel/errors.js';

import { gatewaySubject, type MappingContext, mappingSubject, patchMapping, replaceMapping, upsertMapping } from './mapping.js';
import { MappingBudget } from './mapping-budget.table.js';
import type { MappingInput, MappingPatch } from './mapping-input.js';
import { explainTaken } from './match-claims.js';
import { OwnPorts } from './own-ports.js';
import { ReadRouteGuard } from './read-route-guard.js';

/** How a mapping changes: replaced (it must exist), created or replaced, or merged with a patch (RFC 7396; it must exist). */
export type MappingChange =
  | { readonly mode: 'replace'; readonly input: MappingInput }
  | { readonly mode: 'upsert'; readonly input: MappingInput }
  | { readonly mode: 'merge'; readonly patch: MappingPatch };

/** Changes a mapping. An equal state is no change: nothing is recorded. */
export class UpdateMapping extends Command<Outcome> {
  constructor(
    readonly gateway: string,
    readonly name: string,
    readonly change: MappingChange,
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(UpdateMapping)
export class UpdateMappingHandler implements ICommandHandler<UpdateMapping> {
  constructor(
    private readonly events: EventStore,
    private readonly queries: QueryBus,
    @Optional() private readonly own: OwnPorts = new OwnPorts([]),
    @Optional() private readonly budget?: MappingBudget,
  ) {}

  async execute({ gateway, name, change, request }: UpdateMapping): Promise<Outcome> {
    const { context, ...rest } = request;
    const guard = await this.queries.execute(new ReadRouteGuard(gateway, request));
    const place = change.mode === 'upsert' ? await this.budget?.take(gateway) : undefined; // the others never make a new one
    try {
      return await guard.handle(
        this.events,
        {
          ...rest,
          stream: `gateway/${gateway}`,
          subjects: [gatewaySubject, mappingSubject(name)],
          context: { ...context, action: 'UpdateMapping' },
        },
        decision(name, change, { ownPorts: this.own.ports, isFull: place?.isFull === true }),
      );
    } catch (error) {
      throw explainTaken(error);
    } finally {
      place?.release();
    }
  }
}

function decision(name: string, change: MappingChange, context: MappingContext): Decide {
  switch (change.mode) {
    case 'replace':
      return replaceMapping(change.input, context);
    case 'upsert':
      return upsertMapping(change.input, context);
    case 'merge':
      return patchMapping(name, change.patch, context);
    default:
      return unreachable(change);
  }
}
