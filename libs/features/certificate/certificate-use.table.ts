import { type Db, sqlQuery } from '#platform/database/database.js';

import { type CertificateState, certificateSubject } from './certificate.js';

/** What holds a certificate, and which targets serve it. */
export interface CertificateUse {
  /** Subjects that name it, and that it cannot be deleted under: `gateway` (the settings), `mapping/user`. */
  readonly usedBy: readonly string[];
  /** Targets that were seen to serve it or an earlier one of its name. */
  readonly live: readonly LiveCertificate[];
}

export interface LiveCertificate {
  readonly target: string;
  readonly fingerprint: string;
  readonly provenAt: string;
  /** Whether that is the present one. */
  readonly current: boolean;
}

interface LiveRow {
  certificate: string;
  target: string;
  fingerprint: string;
  proven_at: Date;
}

/** What rests on each of these certificates, in their order. */
export async function readCertificateUse(
  db: Db,
  gateway: string,
  states: readonly Pick<CertificateState, 'name' | 'fingerprint'>[],
): Promise<CertificateUse[]> {
  const names = states.map(({ name }) => name);
  const [references, live] = await Promise.all([
    sqlQuery<{ target: string; subject: string }>(
      db,
      'SELECT target, subject FROM chancery.reference WHERE stream = $1 AND target = ANY ($2::text[]) ORDER BY subject',
      [`gateway/${gateway}`, names.map(certificateSubject)],
    ),
    sqlQuery<LiveRow>(
      db,
      `SELECT certificate, target, fingerprint, proven_at FROM chancery.certificate_live
       WHERE gateway = $1 AND certificate = ANY ($2::text[]) ORDER BY target`,
      [gateway, names],
    ),
  ]);
  return states.map(({ name, fingerprint: present }) => ({
    usedBy: references.filter(({ target }) => target === certificateSubject(name)).map(({ subject }) => subject),
    live: live
      .filter(({ certificate }) => certificate === name)
      .map(({ target, fingerprint, proven_at }) => ({
        target,
        fingerprint,
        provenAt: proven_at.toISOString(),
        current: fingerprint === present,
      })),
  }));
}
