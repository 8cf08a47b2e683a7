import { listReadOnlyTargets } from '#features/rollout/lineage.table.js';
import type { Db } from '#platform/database/database.js';
import { requireSchema } from '#platform/database/migrator.js';
import type { Queue } from '#platform/queue/queue.js';

import type { Gateways } from './fold/gateways.js';
import type { LiveDelivery } from './live/live-delivery.js';
import type { Check } from './status-server.js';

/** What a worker answers to whoever asks whether it is ready. */
export function workerChecks(options: {
  readonly db: Db;
  readonly gateways: Gateways;
  readonly live: LiveDelivery;
  queue(): Queue | undefined;
}): Record<string, Check> {
  const { db, gateways, live } = options;
  return {
    database: async () => {
      await requireSchema(db);
      return '';
    },
    queue: () => (options.queue() === undefined ? 'not open yet' : ''),
    services_file: () => gateways.servicesFileError,
    live: () => {
      const waiting = live.publishers().filter(({ isLive, holds, head }) => isLive && !holds && (head?.version ?? 0) === 0);
      return waiting.map(({ gateway }) => `${gateway}: its resources are not made yet`).join('; ');
    },
    targets: async () => {
      const still = await listReadOnlyTargets(db);
      return still.map(({ name, reason }) => `${name}: ${reason}; run chancery recover`).join('; ');
    },
  };
}
