import { type Db, sqlQuery } from '#platform/database/database.js';
import { DomainError } from '#platform/kernel/errors.js';

import type { StreamOwner } from './target-stream.table.js';

/**
 * Enrols an Envoy without an agent, or takes its target over from whoever held it. Answers its term, which here only says whose words about the row count,
 * and the secret of its marker path, made the first time and kept.
 * @throws DomainError conflict `target_elsewhere` for a name of another gateway, `target_has_agent` for one of an agent; forbidden `target_retired`.
 */
export async function openEnvoyStream(
  db: Db,
  target: { readonly name: string; readonly gateway: string; readonly worker: string; readonly facts: object; readonly newSecret: string },
): Promise<{ readonly term: number; readonly proofSecret: string }> {
  const [row] = await sqlQuery<{ term: number; proof_secret: string }>(
    db,
    `insert into chancery.target as t (name, gateway, kind, delivery, worker, term, facts, last_seen_at)
     values ($1, $2, 'envoy', 'live', $3, 1, $4::jsonb || jsonb_build_object('proofSecret', $5::text), clock_timestamp())
     on conflict (name) do update
        set worker = $3, term = t.term + 1, state = 'enrolled', last_seen_at = clock_timestamp(), delivery = 'live',
            present_since = case when t.state = 'away' then clock_timestamp() else t.present_since end,
            facts = $4::jsonb || jsonb_build_object('proofSecret', coalesce(t.facts->>'proofSecret', $5::text))
      where t.gateway = $2 and t.kind = 'envoy' and t.state <> 'retired'
     returning t.term, t.facts->>'proofSecret' as proof_secret`,
    [target.name, target.gateway, target.worker, JSON.stringify(target.facts), target.newSecret],
  );
  if (row !== undefined) return { term: row.term, proofSecret: row.proof_secret };
  throw await whyNot(db, target);
}

async function whyNot(db: Db, { name, gateway }: { readonly name: string; readonly gateway: string }): Promise<DomainError> {
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

/** The newest version that the Envoy has acknowledged, and what it refuses; '' for nothing. */
export async function writeAcknowledged(
  db: Db,
  owner: StreamOwner,
  acknowledged: { readonly version: number; readonly error: string },
): Promise<void> {
  await sqlQuery(
    db,
    `update chancery.target set applied_version = $3, error = $4, agent_state = 'connected', last_seen_at = clock_timestamp()
      where name = $1 and term = $2`,
    [owner.target, owner.term, acknowledged.version, acknowledged.error.slice(0, 2_000)],
  );
}
