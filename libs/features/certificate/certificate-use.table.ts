import { type Db, sqlQuery } from '#platform/database/database.js';

import { type CertificateState, certificateSubject } from './certificate.js';

/** What holds a certificate, and which targets serve it. */
export interface CertificateUse {
  /** Subjects that name it, and that it cannot be deleted under: `gateway` (the settings), `mapping/user`. */
  readonly usedBy: readonly string[];
  /** Targets that were seen to serve it or an earlier one of its name. */
  readonly live: readonly LiveCertificate[];
  /** Targets that are here, and were not seen to serve it as it is now. Envoys without an agent are seen by nobody, and not among them. */
  readonly pending: readonly string[];
  /** Why it does not serve as it is now, or could not be renewed; null when nothing is known against it. */
  readonly problem: CertificateProblem | null;
}

/** What stands against a certificate. */
export interface CertificateProblem {
  readonly code: string;
  readonly message: string;
  readonly since: string;
}

export interface LiveCertificate {
  readonly target: string;
  readonly fingerprint: string;
  readonly provenAt: string;
  /** Whether that is the present one. */
  readonly current: boolean;
}

interface ProblemRow extends Omit<CertificateProblem, 'since'> {
  certificate: string;
  /** Of the certificate that it is about; null: of whichever there is. */
  fingerprint: string | null;
  since: Date;
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
  const [references, live, targets, problems] = await Promise.all([
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
    sqlQuery<{ name: string }>(
      db,
      "SELECT name FROM chancery.target WHERE gateway = $1 AND state = 'enrolled' AND kind = 'agent' ORDER BY name",
      [gateway],
    ),
    readProblems(db, gateway, names),
  ]);
  return states.map(({ name, fingerprint: present }) => {
    const seen = live.filter(({ certificate }) => certificate === name).map((row) => liveOf(row, present));
    const isCurrent = new Set(seen.filter(({ current }) => current).map(({ target }) => target));
    const [problem] = problems.filter(
      ({ certificate, fingerprint }) => certificate === name && (fingerprint === null || fingerprint === present),
    );
    return {
      usedBy: references.filter(({ target }) => target === certificateSubject(name)).map(({ subject }) => subject),
      live: seen,
      pending: targets.map((target) => target.name).filter((target) => !isCurrent.has(target)),
      problem: problem === undefined ? null : { code: problem.code, message: problem.message, since: problem.since.toISOString() },
    };
  });
}

function liveOf({ target, fingerprint, proven_at }: LiveRow, present: string): LiveCertificate {
  return { target, fingerprint, provenAt: proven_at.toISOString(), current: fingerprint === present };
}

/** What a worker could not bring to Envoys comes before what Kubernetes has and could not be taken. */
function readProblems(db: Db, gateway: string, names: readonly string[]): Promise<ProblemRow[]> {
  return sqlQuery<ProblemRow>(
    db,
    `SELECT certificate, fingerprint, code, reason AS message, since, 1 AS rank
       FROM chancery.certificate_status WHERE gateway = $1 AND certificate = ANY ($2::text[])
     UNION ALL
     SELECT certificate, NULL, 'kubernetes_secret_refused', format('Secret %s/%s: %s', namespace, name, problem), at, 2
       FROM chancery.kubernetes_secret WHERE gateway = $1 AND certificate = ANY ($2::text[]) AND problem <> ''
     ORDER BY certificate, rank, message`,
    [gateway, names],
  );
}
