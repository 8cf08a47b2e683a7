import { readAuditProjection, resetAudit } from '#features/audit/audit.projection.js';
import { sqlQuery } from '#platform/database/database.js';
import { createWake } from '#platform/eventstore/wake.js';

import { startAuditProjector } from '../../apps/projector/src/audit-projector.js';

import { copyOut } from './copy-out.js';
import type { OpenPart, Prepared } from './measurement.js';

/** The trail of everything, from an empty table to the head. @returns its rows */
export async function rebuildAudit({ database, log }: Prepared): Promise<number> {
  await database.db.transaction().execute((tx) => resetAudit(tx));
  const wake = createWake(database.url);
  const projector = startAuditProjector({ database, wake, log, onApplied: () => undefined });
  await projector.caughtUp();
  await projector.close();
  await wake.close();
  return (await readAuditProjection(database.db)).position;
}

export const openPart: OpenPart = async (prepared) => [
  {
    name: 'rebuild of the audit trail',
    against: 'COPY of the events out of the server',
    goal: 2,
    times: 1,
    mostBlocks: 3,
    product: async () => {
      const rows = await rebuildAudit(prepared);
      const [stored] = await sqlQuery<{ n: number }>(prepared.database.db, 'SELECT count(*) AS n FROM chancery.audit', []);
      if (stored?.n !== rows) throw new Error(`the trail says ${rows} rows and has ${stored?.n}`);
      return rows;
    },
    limit: () =>
      copyOut(
        prepared.database.url,
        `COPY (SELECT * FROM chancery.event WHERE stream = '${prepared.stream}' ORDER BY version, position) TO STDOUT`,
      ),
    isRate: true,
  },
];
