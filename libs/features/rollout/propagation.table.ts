import { type Db, sqlQuery } from '#platform/database/database.js';

import type { CertificateSight, RolloutSight, SetAsideSight, TargetSight } from './propagation.js';

interface TargetRow {
  head: number;
  desired: number;
  because: TargetSight['desired']['because'];
  record: string;
  strategy: string;
  wave: RolloutSight['wave'];
  hold: RolloutSight['hold'];
  name: string | null;
  kind: TargetSight['kind'];
  state: 'enrolled' | 'away';
  applied_version: number;
  proven_version: number;
  read_only: string | null;
  failures: number;
  ended: TargetSight['ended'];
  running: string | null;
}

/** A deployment that a newer release overtook says nothing about any version, so the last one that ran to its end counts. */
const targets = `
  select s.version as head, t.name, t.kind, t.state, t.applied_version, t.proven_version, t.read_only, t.failures, e.ended, r.trigger as running,
         coalesce(o.version, w.version, s.version) as desired, coalesce(o.because, w.because, 'immediate') as because,
         coalesce(o.record, w.record, '') as record, coalesce(w.policy, 'immediate') as strategy, w.wave, w.hold
    from chancery.stream s
    left join chancery.desired w on w.gateway = $1
    left join chancery.target t on t.gateway = $1 and t.state <> 'retired'
    left join chancery.desired_override o on o.gateway = $1 and o.target = t.name
    left join lateral (
      select d.id, jsonb_build_object('version', d.version, 'state', d.state, 'code', d.code, 'detail', d.detail,
                                      'ageMs', extract(epoch from clock_timestamp() - d.finished_at) * 1000) as ended
        from chancery.deployment d where d.target = t.name and d.state in ('proven', 'failed', 'refused') order by d.id desc limit 1) e on true
    left join lateral (
      select d.trigger from chancery.deployment d
       where d.target = t.name and d.state = 'running' and (e.id is null or d.id > e.id) order by d.id desc limit 1) r on true
   where s.stream = 'gateway/' || $1
   order by t.name`;

/** The newest first: when there are more than anybody reads, those of the last versions are shown. */
const setAside = `
  select m.mapping as name, m.digest, m.code, m.reason, s.from_version as "fromVersion", s.state
    from chancery.mapping_status m
    join chancery.subject s on s.stream = 'gateway/' || m.gateway and s.subject = 'mapping/' || m.mapping and s.state is not null
   where m.gateway = $1 and m.state = 'set_aside'
   order by s.from_version desc, m.mapping limit 1000`;

const closed = `
  select c.certificate as name, c.code, c.reason, s.from_version as "fromVersion"
    from chancery.certificate_status c
    join chancery.subject s on s.stream = 'gateway/' || c.gateway and s.subject = 'certificate/' || c.certificate and s.state ->> 'fingerprint' = c.fingerprint
   where c.gateway = $1
   order by s.from_version desc, c.certificate limit 1000`;

/**
 * How far each target of a gateway is. The targets are read first: what was set aside for a release was written before it was sent, so a target that is
 * seen to have proven a version is never seen without it.
 */
export async function readRolloutSight(db: Db, gateway: string): Promise<RolloutSight> {
  const rows = await sqlQuery<TargetRow>(db, targets, [gateway]);
  const aside = await sqlQuery<SetAsideSight>(db, setAside, [gateway]);
  const certificates = await sqlQuery<CertificateSight>(db, closed, [gateway]);
  const { head = 0, strategy = 'immediate', wave = null, hold = null } = rows[0] ?? {};
  return { head, targets: rows.flatMap(toSight), setAside: aside, certificates, strategy, wave, hold };
}

function toSight(row: TargetRow): TargetSight[] {
  if (row.name === null) return []; // the gateway's head without any target
  return [
    {
      name: row.name,
      kind: row.kind,
      away: row.state === 'away',
      appliedVersion: row.applied_version,
      provenVersion: row.proven_version,
      readOnly: row.read_only,
      failures: row.failures,
      ended: row.ended,
      running: row.running,
      desired: { version: row.desired, because: row.because, record: row.record },
    },
  ];
}
