import type { Found } from '#features/discovery/discovery.js';

import type { GatewayFold } from '../fold/gateway-fold.js';
import { serviceOf } from '../fold/gateways.js';
import type { SetAsides } from '../statuses/set-asides.js';
import type { LiveLane } from './live-lane.js';
import { ShrinkGuard, type ShrinkGuardOptions } from './shrink-guard.js';

/** What stands before the pushes of a gateway's head: it knows what of it is served. */
export function headGuard(
  options: Pick<ShrinkGuardOptions, 'db' | 'log' | 'hold' | 'onVerdict'> & {
    readonly fold: GatewayFold;
    readonly asides: SetAsides;
    found(): ReadonlyMap<string, Found>;
    head(): LiveLane | undefined;
  },
): ShrinkGuard {
  const { db, log, fold, asides } = options;
  const hasEndpoint = (key: string) => (options.found().get(key)?.endpoints.length ?? 0) > 0;
  return new ShrinkGuard({
    db,
    log,
    source: fold,
    hold: () => options.hold(),
    onVerdict: (shrink) => options.onVerdict(shrink),
    hasEndpoint,
    certificates: () => options.head()?.nextSecrets.certificates ?? [],
    isServed: (name) => {
      const mapping = fold.mappings.get(name);
      if (mapping === undefined || options.head()?.table.refused.has(name) === true) return false;
      return asides.asideOf(name, mapping) === undefined && hasEndpoint(serviceOf(mapping.state.service)?.key ?? '');
    },
  });
}
