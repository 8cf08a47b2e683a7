import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryBus, QueryHandler } from '@nestjs/cqrs';

import { ReadGateway } from '#features/gateway/list-gateways.js';
import type { RolloutPolicy } from '#features/gateway/rollout-policy.js';
import { ListTargets } from '#features/rollout/list-targets.js';
import type { Db } from '#platform/database/database.js';
import { DB } from '#platform/http/tokens.js';
import { DomainError } from '#platform/kernel/errors.js';

import {
  type FreezeState,
  type HoldState,
  isImmediate,
  type PinState,
  planOf,
  presentWave,
  type Recorded,
  type RolloutSwitches,
  releasedVersion,
  type Standing,
  switchesOf,
  type Wanted,
  type WaveState,
  wantedBy,
} from './promotion.js';
import { readStanding } from './standing.table.js';
import { readSwitches } from './switches.table.js';

type Since<S> = S & { readonly since: string };

/** How the versions of a gateway come to its targets, and how far they are. */
export interface RolloutView {
  readonly gateway: string;
  readonly policy: RolloutPolicy;
  /** frozen, held: nothing moves before somebody says so. waiting: there is a version that no wave brings and nobody has promoted. settled: there is none. */
  readonly state: 'immediate' | 'settled' | 'waiting' | 'in_wave' | 'halted' | 'held' | 'frozen';
  readonly headVersion: number;
  readonly releasedVersion: number;
  readonly wave: Since<WaveState> | null;
  readonly freeze: Since<FreezeState> | null;
  readonly hold: Since<HoldState> | null;
  readonly pins: readonly Since<PinState>[];
  readonly targets: readonly {
    readonly name: string;
    readonly state: string;
    readonly desiredVersion: number;
    readonly provenVersion: number;
    readonly because: Wanted['because'];
  }[];
}

export class ReadRollout extends Query<RolloutView> {
  constructor(readonly gateway: string) {
    super();
  }
}

@QueryHandler(ReadRollout)
export class ReadRolloutHandler implements IQueryHandler<ReadRollout> {
  constructor(
    private readonly queries: QueryBus,
    @Inject(DB) private readonly db: Db,
  ) {}

  /** @throws DomainError not_found `gateway_not_found`. */
  async execute({ gateway }: ReadRollout): Promise<RolloutView> {
    const [standing, { subjects }, { settings }, targets] = await Promise.all([
      readStanding(this.db, gateway),
      readSwitches(this.db, gateway),
      this.queries.execute(new ReadGateway(gateway)),
      this.queries.execute(new ListTargets(gateway)),
    ]);
    if (standing === undefined) throw new DomainError('not_found', 'gateway_not_found', 'There is no such gateway.');
    const switches = switchesOf(subjects);
    const plan = planOf(standing, switches);
    return {
      gateway,
      policy: settings.rollout,
      state: stateOf(standing, switches),
      headVersion: standing.head,
      releasedVersion: switches.freeze.state?.version ?? releasedVersion(standing, switches),
      wave: since(presentWave(standing, switches)),
      freeze: since(switches.freeze),
      hold: since(switches.hold),
      pins: [...switches.pins.values()].flatMap((pin) => since(pin) ?? []),
      targets: targets.map(({ name, state, provenVersion }) => {
        const { version, because } = wantedBy(plan, name);
        return { name, state, desiredVersion: version === 'head' ? standing.head : version, provenVersion, because };
      }),
    };
  }
}

function since<S>({ state, recordedAt }: Recorded<S>): Since<S> | null {
  return state === null ? null : { ...state, since: recordedAt };
}

function stateOf(standing: Standing, switches: RolloutSwitches): RolloutView['state'] {
  if (switches.freeze.state !== null) return 'frozen';
  if (switches.hold.state?.state === 'held') return 'held';
  if (isImmediate(standing)) return 'immediate';
  const wave = presentWave(standing, switches).state;
  if (wave?.state === 'advancing') return 'in_wave';
  if (wave?.state === 'halted') return 'halted';
  return releasedVersion(standing, switches) < standing.head ? 'waiting' : 'settled';
}
