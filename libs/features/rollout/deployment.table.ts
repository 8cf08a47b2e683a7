import { type Db, sqlQuery } from '#platform/database/database.js';

export type DeploymentState = 'running' | 'proven' | 'failed' | 'superseded' | 'refused';

/** One step of a push, in the order in which it happened. */
interface DeploymentStep {
  readonly step: string;
  readonly at: string;
  readonly durationMs: number;
  readonly detail: string;
  readonly code: string;
}

/** One push of one release to one target. Times are ISO 8601 in UTC. */
export interface DeploymentView {
  readonly id: string;
  readonly gateway: string;
  readonly target: string;
  /** `<lineage>.<term>.<sequence>`, unique per target; '' while it has no place in the fence yet. */
  readonly release: string;
  /** The gateway version that it was rendered from. */
  readonly version: number;
  /** The first version that it brought, up to `version`; 0 when that is not known. */
  readonly coversFrom: number;
  readonly delivery: 'live' | 'hot-restart';
  readonly renderSha256: string;
  /** What caused it: change, endpoints, redeployment, retry, connect, drift. */
  readonly trigger: string;
  readonly state: DeploymentState;
  readonly code: string;
  readonly detail: string;
  readonly startedAt: string;
  readonly finishedAt: string | null;
  readonly epochFrom: number;
  readonly epochTo: number;
  readonly steps: readonly DeploymentStep[];
}

interface DeploymentRecord {
  id: string;
  gateway: string;
  target: string;
  release: string;
  version: string;
  covers_from: string;
  delivery: DeploymentView['delivery'];
  render_sha256: string;
  trigger: string;
  state: DeploymentState;
  code: string;
  detail: string;
  started_at: string;
  finished_at: string | null;
  epoch_from: number;
  epoch_to: number;
  steps: DeploymentStep[];
}

const iso = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

const select = `
  select d.id, d.gateway, d.target, d.release, d.version, d.covers_from, d.delivery, d.render_sha256, d.trigger, d.state, d.code, d.detail,
         ${iso('d.started_at')} as started_at, ${iso('d.finished_at')} as finished_at, d.epoch_from, d.epoch_to,
         coalesce((select jsonb_agg(jsonb_build_object('step', s.step, 'at', ${iso('s.at')}, 'durationMs', s.duration_ms, 'detail', s.detail, 'code', s.code)
                                    order by s.at, s.report)
                     from chancery.deployment_step s where s.deployment = d.id), '[]') as steps
    from chancery.deployment d`;

export interface DeploymentFilter {
  readonly gateway: string;
  readonly target?: string | undefined;
  readonly state?: DeploymentState | undefined;
  /** The id of the last one of the page before. */
  readonly after?: string | undefined;
  readonly limit: number;
}

/** The pushes of a gateway, newest first. */
export async function listDeployments(db: Db, filter: DeploymentFilter): Promise<DeploymentView[]> {
  const values: unknown[] = [filter.gateway, filter.limit];
  const conditions = ['d.gateway = $1'];
  for (const [column, value] of [
    ['d.target =', filter.target],
    ['d.state =', filter.state],
    ['d.id <', filter.after],
  ] as const) {
    if (value !== undefined) conditions.push(`${column} $${values.push(value)}`);
  }
  const rows = await sqlQuery<DeploymentRecord>(db, `${select} where ${conditions.join(' and ')} order by d.id desc limit $2`, values);
  return rows.map(toView);
}

/** Pushes that have ended and are not in the log yet, oldest first. */
export async function listUnrecorded(db: Db, limit: number): Promise<DeploymentView[]> {
  const condition = `d.state <> 'running' and d.recorded_version is null`;
  const rows = await sqlQuery<DeploymentRecord>(db, `${select} where ${condition} order by d.id limit $1`, [limit]);
  return rows.map(toView);
}

/** One push; undefined when there is none of that id (any text is allowed as the id). */
export async function readDeployment(db: Db, id: string): Promise<DeploymentView | undefined> {
  if (!/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(id)) return undefined;
  const [row] = await sqlQuery<DeploymentRecord>(db, `${select} where d.id = $1`, [id]);
  return row === undefined ? undefined : toView(row);
}

function toView(row: DeploymentRecord): DeploymentView {
  return {
    id: row.id,
    gateway: row.gateway,
    target: row.target,
    release: row.release,
    version: Number(row.version),
    coversFrom: Number(row.covers_from),
    delivery: row.delivery,
    renderSha256: row.render_sha256,
    trigger: row.trigger,
    state: row.state,
    code: row.code,
    detail: row.detail,
    startedAt: row.started_at,
    finishedAt: row.finished_at,
    epochFrom: row.epoch_from,
    epochTo: row.epoch_to,
    steps: row.steps,
  };
}
