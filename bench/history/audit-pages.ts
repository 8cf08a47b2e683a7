import { type AuditFilter, listAudit } from '#features/audit/audit-trail.table.js';
import { openDatabase, sqlQuery } from '#platform/database/database.js';

import { rebuildAudit } from './audit-rebuild.js';
import type { Measurement, OpenPart } from './measurement.js';

const PAGE = 100;
const byKey =
  'SELECT position, stream, version, at, category, gateway, action, actor, result, code, status, count, command_id, subjects, subject_count FROM chancery.audit WHERE position = ANY ($1::bigint[])';

/** After a rebuild the planner knows nothing of the table until autovacuum has been there, which takes a minute; nobody waits for that here. */
async function analyze(ownerUrl: string): Promise<void> {
  const owner = openDatabase({ url: ownerUrl, applicationName: 'bench-history', maxConnections: 1 });
  await sqlQuery(owner.db, 'ANALYZE chancery.audit, chancery.audit_subject', []);
  await owner.close();
}

/** The trail a page at a time: the first, and the thousandth (in a shorter history the last whole one). */
export const openPart: OpenPart = async (prepared) => {
  const { db } = prepared.database;
  const rows = await rebuildAudit(prepared);
  const prepare = () => analyze(prepared.ownerUrl);
  const far = Math.min(1_000, Math.floor(rows / PAGE));
  const first = async (filter: AuditFilter) => (await listAudit(db, filter, { limit: PAGE })).length;
  const nth = async (filter: AuditFilter) => (await listAudit(db, filter, { before: rows - (far - 1) * PAGE + 1, limit: PAGE })).length;
  const deep = (words: string, filter: AuditFilter): Measurement => ({
    name: `page ${far} of the trail${words}`,
    against: 'its page 1',
    goal: 1.3,
    times: 25,
    product: () => nth(filter),
    limit: () => first(filter),
  });
  return [
    {
      name: 'page 1 of the trail',
      against: 'SELECT of as many rows by primary key',
      goal: 3,
      times: 25,
      prepare,
      product: () => first({}),
      limit: async () => (await sqlQuery(db, byKey, [Array.from({ length: PAGE }, (_, i) => rows - i)])).length,
    },
    deep('', {}),
    deep(' by actor', { actor: 'token/bench' }),
    deep(' by actor and words', { actor: 'token/bench', q: 'PutMapping' }),
  ];
};
