import { type Db, sqlQuery } from '#platform/database/database.js';

/** One Envoy, as the rollout sees it. Times are ISO 8601 in UTC. */
export interface TargetView {
  readonly name: string;
  readonly gateway: string;
  /** agent: an agent of ours beside its Envoy. envoy: an Envoy that dials the worker itself, which proves nothing. */
  readonly kind: 'agent' | 'envoy';
  /** enrolled: connected or expected back. away: not seen for a while, nothing waits for it. retired: gone for good. */
  readonly state: 'enrolled' | 'away' | 'retired';
  /** What this target should run: the head of the gateway, or what a wave, a freeze or a pin says. */
  readonly desiredVersion: number;
  readonly appliedVersion: number;
  /** The newest gateway version whose render this target has proven through its data plane. */
  readonly provenVersion: number;
  /** How its Envoy gets its configuration; what the gateway asks for while it has said nothing. */
  readonly delivery: 'live' | 'hot-restart';
  /** Envoy's restart epoch; -1 when no Envoy runs. */
  readonly epoch: number;
  readonly agentState: string;
  readonly windowEndsAt: string | null;
  /** The failure or the reason for standing still that holds now; '' for none. */
  readonly error: string;
  readonly lastSeenAt: string | null;
  readonly envoyVersion: string;
  /** The release that the live Envoy runs; '' when unknown. */
  readonly release: string;
  readonly connected: boolean;
}

interface TargetRecord {
  name: string;
  gateway: string;
  state: TargetView['state'];
  desired: string;
  applied_version: string;
  proven_version: string;
  kind: 'agent' | 'envoy';
  delivery: string;
  wanted_delivery: TargetView['delivery'] | null;
  epoch: number;
  agent_state: string;
  window_ends_at: string | null;
  error: string;
  read_only: string | null;
  last_seen_at: string | null;
  facts: { envoyVersion?: string };
  applied_release: string;
  worker: string | null;
}

const iso = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

const select = `
  select t.name, t.gateway, t.state, coalesce(o.version, w.version, s.version, 0) as desired, t.applied_version, t.proven_version, t.kind, t.delivery, g.wanted_delivery, t.epoch, t.agent_state,
         ${iso('t.window_ends_at')} as window_ends_at, t.error, t.read_only, ${iso('t.last_seen_at')} as last_seen_at, t.facts, t.applied_release, t.worker
    from chancery.target t
    left join chancery.desired w on w.gateway = t.gateway
    left join chancery.desired_override o on o.gateway = t.gateway and o.target = t.name
    left join lateral (select h.version from chancery.stream h where h.stream = 'gateway/' || t.gateway) s on true
    left join lateral (select u.state->>'delivery' as wanted_delivery from chancery.subject u
                        where u.stream = 'gateway/' || t.gateway and u.subject = 'gateway') g on true`;

/** The targets of a gateway that are not retired, by name. */
export async function listTargets(db: Db, gateway: string): Promise<TargetView[]> {
  const rows = await sqlQuery<TargetRecord>(db, `${select} where t.gateway = $1 and t.state <> 'retired' order by t.name`, [gateway]);
  return rows.map(toView);
}

/** One target, retired or not; undefined when the gateway never had it. */
export async function readTarget(db: Db, gateway: string, name: string): Promise<TargetView | undefined> {
  const [row] = await sqlQuery<TargetRecord>(db, `${select} where t.gateway = $1 and t.name = $2`, [gateway, name]);
  return row === undefined ? undefined : toView(row);
}

function toView(row: TargetRecord): TargetView {
  return {
    name: row.name,
    gateway: row.gateway,
    kind: row.kind,
    state: row.state,
    desiredVersion: Number(row.desired),
    appliedVersion: Number(row.applied_version),
    provenVersion: Number(row.proven_version),
    delivery: row.delivery === 'live' || row.delivery === 'hot-restart' ? row.delivery : (row.wanted_delivery ?? 'hot-restart'),
    epoch: row.epoch,
    agentState: row.kind === 'envoy' ? stateOfEnvoy(row) : row.agent_state,
    windowEndsAt: row.window_ends_at,
    error: row.read_only ?? row.error,
    lastSeenAt: row.last_seen_at,
    envoyVersion: row.facts.envoyVersion ?? '',
    release: row.applied_release,
    connected: row.worker !== null,
  };
}

/** What may be said of an Envoy without an agent. */
function stateOfEnvoy({ worker, applied_version, desired }: TargetRecord): string {
  if (worker === null) return 'unknown';
  return Number(applied_version) >= Number(desired) ? 'acked, unproven' : 'pushing';
}
