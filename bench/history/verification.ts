import { verifyStream } from '#platform/eventstore/read-log.js';

import { copyOut } from './copy-out.js';
import type { OpenPart } from './measurement.js';

/** Every digest and hash of the history, computed anew. */
export const openPart: OpenPart = async ({ database, stream, versions }) => [
  {
    name: 'verification of the whole chain',
    against: 'COPY of the events out of the server',
    times: 1,
    product: async () => {
      const verdict = await verifyStream(database.db, stream);
      if (!verdict.ok) throw new Error(`version ${verdict.version}: ${verdict.fault}`);
      return versions;
    },
    limit: () =>
      copyOut(database.pool, `COPY (SELECT * FROM chancery.event WHERE stream = '${stream}' ORDER BY version, position) TO STDOUT`),
    isRate: true,
  },
];
