import { resetRoutes } from '#features/mapping/mapping.projection.js';
import { sqlQuery } from '#platform/database/database.js';
import { createWake } from '#platform/eventstore/wake.js';

import { startRouteProjector } from '../../apps/projector/src/route-projector.js';

import { copyOut } from './copy-out.js';
import type { OpenPart } from './measurement.js';

/** The read models, from an empty table to the head. */
export const openPart: OpenPart = async (prepared) => {
  const { database, gateway, stream, versions, mappings, log } = prepared;
  const limit = () =>
    copyOut(database.url, `COPY (SELECT * FROM chancery.event WHERE stream = '${stream}' ORDER BY version, position) TO STDOUT`);
  const rebuildRoutes = async () => {
    await database.db.transaction().execute((tx) => resetRoutes(tx, gateway));
    const wake = createWake(database.url);
    const projector = startRouteProjector({ database, wake, log, onApplied: () => undefined });
    await projector.caughtUp();
    await projector.close();
    await wake.close();
    const [row] = await sqlQuery<{ rows: number; version: number }>(
      database.db,
      'SELECT (SELECT count(*) FROM chancery.route WHERE gateway = $1) AS rows, version FROM chancery.route_projection WHERE gateway = $1',
      [gateway],
    );
    if (row?.rows !== mappings || row.version !== versions) throw new Error(`the route table is at ${row?.version} with ${row?.rows} rows`);
    return versions;
  };
  return [
    {
      name: 'rebuild of the route table',
      against: 'COPY of the events out of the server',
      goal: 2,
      times: 1,
      mostBlocks: 3,
      product: rebuildRoutes,
      limit,
      isRate: true,
    },
  ];
};
