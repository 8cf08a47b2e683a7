import { type Db, sqlQuery } from '#platform/database/database.js';
import { verifyStream } from '#platform/eventstore/read-log.js';

import { copyOut } from './copy-out.js';
import type { OpenPart } from './measurement.js';

type Verify = (db: Db, stream: string) => Promise<number>;

const inOneStatement: Verify = (db, stream) =>
  db.transaction().execute(async (tx) => {
    await sqlQuery(tx, 'SET LOCAL statement_timeout = 0', []);
    const verdict = await verifyStream(tx, stream);
    if (!verdict.ok) throw new Error(`version ${verdict.version}: ${verdict.fault}`);
    return verdict.version;
  });

/** The verification that `chancery verify` runs, where this tree has it; the statement beneath it otherwise. */
async function chooseVerify(): Promise<Verify> {
  const module: string = '#platform/eventstore/verify-chain.js';
  try {
    const { verifyChain } = (await import(module)) as {
      verifyChain(db: Db, stream: string): Promise<{ checked: number; fault: { message: string } | null }>;
    };
    return async (db, stream) => {
      const { checked, fault } = await verifyChain(db, stream);
      if (fault !== null) throw new Error(fault.message);
      return checked;
    };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    return inOneStatement;
  }
}

/** Every digest and hash of the history, computed anew. */
export const openPart: OpenPart = async ({ database, stream }) => {
  const verify = await chooseVerify();
  return [
    {
      name: 'verification of the whole chain',
      against: 'COPY of the events out of the server',
      times: 1,
      mostBlocks: 3,
      product: () => verify(database.db, stream),
      limit: () =>
        copyOut(database.url, `COPY (SELECT * FROM chancery.event WHERE stream = '${stream}' ORDER BY version, position) TO STDOUT`),
      isRate: true,
    },
  ];
};
