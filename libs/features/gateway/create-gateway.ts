import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';

import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';

import { createGateway } from './gateway.js';
import { checkGatewayName, type GatewaySettingsInput, replacedSettings } from './gateway-settings.js';

/** Makes a new gateway; what the settings leave out has its default. Refused (409) when the name is taken. */
export class CreateGateway extends Command<Outcome> {
  constructor(
    readonly gateway: string,
    readonly settings: GatewaySettingsInput,
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(CreateGateway)
export class CreateGatewayHandler implements ICommandHandler<CreateGateway> {
  constructor(private readonly events: EventStore) {}

  async execute({ gateway, settings, request }: CreateGateway): Promise<Outcome> {
    checkGatewayName(gateway);
    const { context, ...rest } = request;
    return await this.events.handle(
      { ...rest, stream: `gateway/${gateway}`, subjects: ['gateway'], context: { ...context, action: 'CreateGateway' } },
      createGateway(replacedSettings(settings)),
    );
  }
}
