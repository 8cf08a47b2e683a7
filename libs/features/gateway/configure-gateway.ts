import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';

import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';

import { configureGateway } from './gateway.js';
import { type GatewaySettingsInput, type GatewaySettingsPatch, patchedSettings, replacedSettings } from './gateway-settings.js';

/** How settings change: replaced whole (what is left out has its default) or merged with a patch (RFC 7396). */
export type SettingsChange =
  | { readonly mode: 'replace'; readonly input: GatewaySettingsInput }
  | { readonly mode: 'merge'; readonly patch: GatewaySettingsPatch };

/** Changes a gateway's settings. Equal settings are no change: nothing is recorded. */
export class ConfigureGateway extends Command<Outcome> {
  constructor(
    readonly gateway: string,
    readonly change: SettingsChange,
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(ConfigureGateway)
export class ConfigureGatewayHandler implements ICommandHandler<ConfigureGateway> {
  constructor(private readonly events: EventStore) {}

  execute({ gateway, change, request }: ConfigureGateway): Promise<Outcome> {
    const { context, ...rest } = request;
    return this.events.handle(
      { ...rest, stream: `gateway/${gateway}`, subjects: ['gateway'], context: { ...context, action: 'ConfigureGateway' } },
      configureGateway((present) => (change.mode === 'replace' ? replacedSettings(change.input) : patchedSettings(present, change.patch))),
    );
  }
}
