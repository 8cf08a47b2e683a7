import { type Db, sqlQuery } from '#platform/database/database.js';

/** Why a certificate cannot be brought to Envoys as it stands. */
export interface CertificateStatusRow {
  readonly certificate: string;
  /** SHA-256 of the certificate that this is about: another one is another matter. */
  readonly fingerprint: string;
  readonly code: string;
  readonly reason: string;
}

/** Brings the rows of a gateway to these. One that says the same keeps its `since`. */
export async function replaceCertificateStatus(db: Db, gateway: string, rows: readonly CertificateStatusRow[]): Promise<void> {
  const columns = [
    rows.map(({ certificate }) => certificate),
    rows.map(({ fingerprint }) => fingerprint),
    rows.map(({ code }) => code),
    rows.map(({ reason }) => reason.slice(0, 2_000)),
  ];
  await sqlQuery(
    db,
    `with wanted as (select * from unnest($2::text[], $3::text[], $4::text[], $5::text[]) as w (certificate, fingerprint, code, reason)),
          gone as (delete from chancery.certificate_status s
                    where s.gateway = $1 and not exists (select from wanted w where w.certificate = s.certificate))
     insert into chancery.certificate_status as s (gateway, certificate, fingerprint, code, reason)
     select $1, w.* from wanted w
     on conflict (gateway, certificate) do update
        set fingerprint = excluded.fingerprint, code = excluded.code, reason = excluded.reason,
            since = case when s.fingerprint = excluded.fingerprint and s.code = excluded.code then s.since else clock_timestamp() end
      where (s.fingerprint, s.code, s.reason) is distinct from (excluded.fingerprint, excluded.code, excluded.reason)`,
    [gateway, ...columns],
  );
}

/** A certificate that a target has shown. */
export interface ShownCertificate {
  readonly name: string;
  readonly fingerprint: string;
}

/** Notes which certificates a target has proven to show: these and no others. */
export async function writeShownCertificates(
  db: Db,
  where: { readonly gateway: string; readonly target: string },
  certificates: readonly ShownCertificate[],
): Promise<void> {
  await sqlQuery(
    db,
    `with shown as (select * from unnest($3::text[], $4::text[]) as s (certificate, fingerprint)),
          gone as (delete from chancery.certificate_live l
                    where l.gateway = $1 and l.target = $2 and not exists (select from shown s where s.certificate = l.certificate))
     insert into chancery.certificate_live as l (gateway, certificate, target, fingerprint)
     select $1, s.certificate, $2, s.fingerprint from shown s
     on conflict (gateway, certificate, target) do update set fingerprint = excluded.fingerprint, proven_at = clock_timestamp()
      where l.fingerprint <> excluded.fingerprint`,
    [where.gateway, where.target, certificates.map(({ name }) => name), certificates.map(({ fingerprint }) => fingerprint)],
  );
}
