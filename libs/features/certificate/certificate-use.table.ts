import { type Db, sqlQuery } from '#platform/database/database.js';

import { type CertificateState, certificateSubject } from './certificate.js';

/** What rests on a certificate. */
export interface CertificateUse {
  /** Subjects that name it, and that it cannot be deleted under: `gateway` (the settings), `mapping/user`. */
  readonly usedBy: readonly string[];
}

/** What rests on each of these certificates, in their order. */
export async function readCertificateUse(
  db: Db,
  gateway: string,
  states: readonly Pick<CertificateState, 'name'>[],
): Promise<CertificateUse[]> {
  const targets = states.map(({ name }) => certificateSubject(name));
  const rows = await sqlQuery<{ target: string; subject: string }>(
    db,
    'SELECT target, subject FROM chancery.reference WHERE stream = $1 AND target = ANY ($2::text[]) ORDER BY subject',
    [`gateway/${gateway}`, targets],
  );
  return targets.map((target) => ({ usedBy: rows.filter((row) => row.target === target).map(({ subject }) => subject) }));
}
