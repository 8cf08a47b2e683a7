import { Inject } from '@nestjs/common';
import { Command, CommandHandler, type ICommandHandler, QueryBus } from '@nestjs/cqrs';

import { ListTargets } from '#features/rollout/list-targets.js';
import type { Db } from '#platform/database/database.js';
import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type NewEvent, type Outcome, type View } from '#platform/eventstore/event-store.js';
import { DB } from '#platform/http/tokens.js';
import { DomainError } from '#platform/kernel/errors.js';

import { confirmPush } from './hold.js';
import { isImmediate, pinSubject, presentWave, releasedVersion, rolloutStreamOf, type Standing, switchesOf } from './promotion.js';
import { readStanding } from './standing.table.js';
import { freezeGateway, pinTarget, unfreezeGateway, unpinTarget } from './switches.js';
import { haltWave, type Orderer, promoteVersion, resumeWaves } from './wave.js';

/** What somebody wants of a gateway's rollout. */
export type RolloutOrder =
  | { readonly kind: 'freeze' | 'unfreeze' | 'halt' | 'resume'; readonly reason: string }
  /** Undefined: the head. */
  | { readonly kind: 'promote'; readonly version: number | undefined; readonly reason: string }
  | { readonly kind: 'pin'; readonly target: string; readonly version: number; readonly reason: string }
  | { readonly kind: 'unpin'; readonly target: string; readonly reason: string }
  /** Undefined: whichever push is held. */
  | { readonly kind: 'confirm'; readonly hold: string | undefined; readonly reason: string };

const actions = {
  freeze: 'FreezeGateway',
  unfreeze: 'UnfreezeGateway',
  promote: 'PromoteVersion',
  halt: 'HaltWave',
  resume: 'ResumeWaves',
  pin: 'PinTarget',
  unpin: 'UnpinTarget',
  confirm: 'ConfirmPush',
} as const;

/** Turns one of the switches of `rollout/<gateway>`. No rollback turns it back. */
export class SwitchRollout extends Command<Outcome> {
  constructor(
    readonly gateway: string,
    readonly order: RolloutOrder,
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(SwitchRollout)
export class SwitchRolloutHandler implements ICommandHandler<SwitchRollout> {
  constructor(
    private readonly events: EventStore,
    private readonly queries: QueryBus,
    @Inject(DB) private readonly db: Db,
  ) {}

  /** @throws DomainError not_found `gateway_not_found`; what the order's decision throws; and as `EventStore.handle`. */
  async execute({ gateway, order, request }: SwitchRollout): Promise<Outcome> {
    const standing = await readStanding(this.db, gateway);
    if (standing === undefined) throw new DomainError('not_found', 'gateway_not_found', 'There is no such gateway.');
    const targets = order.kind === 'pin' ? await this.queries.execute(new ListTargets(gateway)) : [];
    const { context, ...rest } = request;
    const decision = decide(order, standing, { by: context.actor, reason: order.reason }, (name) =>
      targets.some((one) => one.name === name),
    );
    return this.events.handle(
      {
        ...rest,
        stream: rolloutStreamOf(gateway),
        subjects: subjectsOf(order),
        context: { ...context, action: actions[order.kind], reason: order.reason === '' ? null : order.reason },
      },
      decision,
    );
  }
}

function subjectsOf(order: RolloutOrder): string[] {
  switch (order.kind) {
    case 'pin':
    case 'unpin':
      return [pinSubject(order.target)];
    case 'confirm':
      return ['hold'];
    default:
      return ['freeze', 'wave'];
  }
}

function decide(
  order: RolloutOrder,
  standing: Standing,
  orderer: Orderer,
  isTarget: (name: string) => boolean,
): (view: View) => NewEvent[] {
  const { head } = standing;
  const switches = (view: View) => switchesOf([view.subject('freeze'), view.subject('wave')]);
  switch (order.kind) {
    case 'freeze':
      return (view) => freezeGateway(releasedVersion(standing, switches(view)), orderer)(view);
    case 'unfreeze':
      return unfreezeGateway();
    case 'halt':
      return (view) => haltWave(presentWave(standing, switches(view)).state, head, orderer)(view);
    case 'resume':
      return resumeWaves(orderer);
    case 'promote':
      return (view) => {
        const released = releasedVersion(standing, switches(view));
        return promoteVersion({ version: order.version ?? head, released, head, isImmediate: isImmediate(standing) }, orderer)(view);
      };
    case 'pin':
      return pinTarget({ target: order.target, version: order.version, head, isTarget: isTarget(order.target) }, orderer);
    case 'unpin':
      return unpinTarget(order.target);
    case 'confirm':
      return confirmPush(order.hold, orderer);
  }
}
