import { type Db, sqlQuery } from '#platform/database/database.js';

import type { CertificateState } from './certificate.js';

/** A living certificate, and whose it is. */
export interface OwnedCertificate {
  readonly gateway: string;
  readonly state: CertificateState;
}

/** The certificates of all gateways. */
export async function listAllCertificates(db: Db): Promise<OwnedCertificate[]> {
  return sqlQuery(
    db,
    // '0' follows '/' in byte order.
    `SELECT substr(s.stream, length('gateway/') + 1) AS gateway, c.state
     FROM chancery.stream s CROSS JOIN LATERAL (
       SELECT state FROM chancery.subject
       WHERE stream = s.stream AND subject >= 'certificate/' AND subject < 'certificate0' AND state IS NOT NULL
     ) c WHERE s.stream LIKE 'gateway/%' ORDER BY 1`,
    [],
  );
}

/** The certificates of one gateway, as far as it matters who gets which. */
export async function listNames(db: Db, gateway: string): Promise<{ readonly name: string; readonly dns: readonly string[] }[]> {
  return sqlQuery(
    db,
    `SELECT substr(subject, length('certificate/') + 1) AS name, state->'sans'->'dns' AS dns FROM chancery.subject
     WHERE stream = 'gateway/' || $1 AND subject >= 'certificate/' AND subject < 'certificate0' AND state IS NOT NULL ORDER BY subject`,
    [gateway],
  );
}

/** A secret that nothing can need any more. */
export interface UnusedSecret {
  readonly id: string;
  readonly gateway: string;
  readonly name: string;
  /** `orphan`: no event ever named it. */
  readonly why: 'orphan' | 'expired' | 'removed';
}

/**
 * The secrets of certificates that nothing can need any more: no event names them, or what names them can never be gone back to, because it has expired or
 * because its certificate was removed. Young ones are left alone (`orphanMs`: a command may be under way; `supersededMs`: a version may still go back by
 * itself), and so is what a version rests on that some target is told to run. Names with a slash are not those of certificates.
 */
export async function listUnusedSecrets(
  db: Db,
  after: { readonly orphanMs: number; readonly supersededMs: number },
): Promise<UnusedSecret[]> {
  return sqlQuery(
    db,
    `WITH stale AS (
       SELECT s.id, s.gateway, s.name, c.stream, c.subject, c.state IS NULL AS removed, c.recorded_at AS changed_at
       FROM chancery.secret s LEFT JOIN chancery.subject c ON c.stream = 'gateway/' || s.gateway AND c.subject = 'certificate/' || s.name
       WHERE strpos(s.name, '/') = 0 AND s.created_at < clock_timestamp() - make_interval(secs => $1::float8 / 1000)
         AND c.state->'secret'->>'id' IS DISTINCT FROM s.id::text
     ), judged AS (
       SELECT t.*, h.uses, h.expired, h.needed FROM stale t CROSS JOIN LATERAL (
         SELECT count(*) AS uses, bool_and((h.state->>'notAfter')::timestamptz < clock_timestamp()) AS expired, bool_or(EXISTS (
             SELECT FROM chancery.desired d WHERE d.gateway = t.gateway AND h.valid @> d.version
           ) OR EXISTS (
             SELECT FROM chancery.desired_override o WHERE o.gateway = t.gateway AND h.valid @> o.version
           )) AS needed
         FROM chancery.subject_history h WHERE h.stream = t.stream AND h.subject = t.subject AND h.state->'secret'->>'id' = t.id::text
       ) h
     )
     SELECT id, gateway, name, CASE WHEN uses = 0 THEN 'orphan' WHEN removed THEN 'removed' ELSE 'expired' END AS why FROM judged
     WHERE uses = 0 OR ((removed OR expired) AND NOT needed AND changed_at < clock_timestamp() - make_interval(secs => $2::float8 / 1000))
     ORDER BY gateway, name, id`,
    [after.orphanMs, after.supersededMs],
  );
}
