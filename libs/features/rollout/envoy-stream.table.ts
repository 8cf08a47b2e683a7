import { type Db, sqlQuery } from '#platform/database/database.js';
import { DomainError } from '#platform/kernel/errors.js';

import type { StreamOwner } from './target-stream.table.js';

/** An Envoy without an agent that dials. */
export interface EnvoyTarget {
  readonly name: string;
  readonly gateway: string;
  readonly worker: string;
  readonly facts: object;
  /** For the first Envoy of its gateway. */
  readonly newSecret: string;
}

export interface OpenedEnvoyStream {
  /** Here it only says whose words about the row count. */
  readonly term: number;
  /** The secret of its marker path: that of the gateway's other Envoys when it was enrolled, and kept. */
  readonly proofSecret: string;
}

/**
 * Enrols Envoys without an agent, or takes their targets over from whoever held them, by one statement. Answers what was opened, by name; `whyNotOpened` says
 * why another was not. Rows are locked by name, as everywhere where several are. No name may come twice.
 */
export async function openEnvoyStreams(db: Db, targets: readonly EnvoyTarget[]): Promise<ReadonlyMap<string, OpenedEnvoyStream>> {
  const rows = await sqlQuery<{ name: string; term: number; proof_secret: string }>(
    db,
    `with known as (
       select distinct on (gateway) gateway, facts->>'proofSecret' as secret from chancery.target
        where gateway = any($2::text[]) and kind = 'envoy' order by gateway, name)
     insert into chancery.target as t (name, gateway, kind, delivery, worker, term, facts, last_seen_at)
     select a.name, a.gateway, 'envoy', 'live', a.worker, 1,
            a.facts::jsonb || jsonb_build_object('proofSecret', coalesce(k.secret, a.secret)), clock_timestamp()
       from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) as a (name, gateway, worker, facts, secret)
       left join known k on k.gateway = a.gateway order by a.name
     on conflict (name) do update
        set worker = excluded.worker, term = t.term + 1, state = 'enrolled', last_seen_at = clock_timestamp(), delivery = 'live',
            present_since = case when t.state = 'away' then clock_timestamp() else t.present_since end,
            facts = excluded.facts || jsonb_build_object('proofSecret', coalesce(t.facts->>'proofSecret', excluded.facts->>'proofSecret'))
      where t.gateway = excluded.gateway and t.kind = 'envoy' and t.state <> 'retired'
     returning t.name, t.term, t.facts->>'proofSecret' as proof_secret`,
    [
      targets.map(({ name }) => name),
      targets.map(({ gateway }) => gateway),
      targets.map(({ worker }) => worker),
      targets.map(({ facts }) => JSON.stringify(facts)),
      targets.map(({ newSecret }) => newSecret),
    ],
  );
  return new Map(rows.map(({ name, term, proof_secret }) => [name, { term, proofSecret: proof_secret }]));
}

/**
 * Why a target was not opened: a DomainError conflict `target_elsewhere` for a name of another gateway, `target_has_agent` for one of an agent; forbidden
 * `target_retired`.
 */
export async function whyNotOpened(db: Db, { name, gateway }: Pick<EnvoyTarget, 'name' | 'gateway'>): Promise<DomainError> {
  const [row] = await sqlQuery<{ gateway: string; state: string; kind: string }>(
    db,
    'select gateway, state, kind from chancery.target where name = $1',
    [name],
  );
  if (row?.state === 'retired') return new DomainError('forbidden', 'target_retired', `The target ${name} is retired.`);
  if (row?.gateway !== gateway)
    return new DomainError('conflict', 'target_elsewhere', `The target ${name} belongs to the gateway ${row?.gateway ?? '?'}.`);
  return new DomainError('conflict', 'target_has_agent', `The target ${name} has an agent: name this Envoy's node otherwise.`);
}

/** The newest version that an Envoy has acknowledged, and what it refuses; '' for nothing. */
export interface Acknowledged {
  readonly version: number;
  readonly error: string;
}

/** What these Envoys have acknowledged. A row of a later stream stays as it is. */
export async function writeAcknowledged(db: Db, all: readonly (readonly [StreamOwner, Acknowledged])[]): Promise<void> {
  await sqlQuery(
    db,
    `with said as (select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[]) as a (name, term, version, error)),
     held as (select t.name, t.term from chancery.target t join said using (name, term) order by t.name for no key update of t)
     update chancery.target t set applied_version = a.version, error = a.error, agent_state = 'connected', last_seen_at = clock_timestamp()
       from held join said a using (name, term) where t.name = held.name`,
    [
      all.map(([owner]) => owner.target),
      all.map(([owner]) => owner.term),
      all.map(([, { version }]) => version),
      all.map(([, { error }]) => error.slice(0, 2_000)),
    ],
  );
}

/** These streams have ended: nobody holds their targets until others open. */
export async function closeEnvoyStreams(db: Db, owners: readonly StreamOwner[]): Promise<void> {
  await sqlQuery(
    db,
    `with gone as (select * from unnest($1::text[], $2::bigint[]) as a (name, term)),
     held as (select t.name from chancery.target t join gone using (name, term) order by t.name for no key update of t)
     update chancery.target t set worker = null, agent_state = 'unknown', last_seen_at = clock_timestamp() from held where t.name = held.name`,
    [owners.map(({ target }) => target), owners.map(({ term }) => term)],
  );
}
