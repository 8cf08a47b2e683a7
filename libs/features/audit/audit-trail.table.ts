import { type Db, sqlQuery } from '#platform/database/database.js';

export const CATEGORIES = ['configuration', 'rollout', 'deployment', 'certificate', 'access', 'refusal', 'other'] as const;
export const RESULTS = ['accepted', 'refused', 'proven', 'failed', 'superseded'] as const;

/** One row of the trail: one version of one stream. */
export interface AuditRow {
  readonly position: number;
  /** ISO 8601 in UTC. */
  readonly at: string;
  readonly category: (typeof CATEGORIES)[number];
  readonly stream: string;
  /** Of the stream. */
  readonly version: number;
  readonly gateway: string | null;
  readonly action: string;
  readonly actor: string;
  /** The first 20. */
  readonly subjects: readonly string[];
  readonly subjectCount: number;
  readonly result: (typeof RESULTS)[number];
  /** The HTTP status of a refusal. */
  readonly status: number | null;
  readonly code: string | null;
  readonly reason: string | null;
  readonly requestId: string | null;
  /** Of a refusal, the id of the command that was refused. */
  readonly commandId: string;
  /** The version's in its chain, hexadecimal. */
  readonly hash: string;
  /** How many attempts a row of counted refusals stands for; else 1. */
  readonly count: number;
}

/** Each must hold; undefined asks nothing. */
export interface AuditFilter {
  readonly actor?: string | undefined;
  readonly action?: string | undefined;
  readonly subject?: string | undefined;
  readonly result?: string | undefined;
  readonly gateway?: string | undefined;
  readonly category?: string | undefined;
  readonly code?: string | undefined;
  /** From here on, and up to but not including there: ISO 8601. */
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  /** All of these words, in any of the fields that are searched. */
  readonly q?: string | undefined;
}

/** Newest first below a position, or oldest first after one. */
export type AuditPage =
  | { readonly before?: number | undefined; readonly limit: number }
  | { readonly after: number; readonly limit: number };

const columns = ['actor', 'action', 'result', 'gateway', 'category', 'code'] as const;

/**
 * A page of the trail. Its cost is that of its rows, wherever it lies: every filter has an index in the order of the positions, the times included, whose
 * bounds are looked up as positions first.
 */
export async function listAudit(db: Db, filter: AuditFilter, page: AuditPage): Promise<AuditRow[]> {
  const values: unknown[] = [page.limit];
  const value = (one: unknown) => `$${values.push(one)}`;
  const order = orderOf(filter);
  const conditions = columns.flatMap((column) => (filter[column] === undefined ? [] : [`a.${column} = ${value(filter[column])}`]));
  if (filter.subject !== undefined) conditions.push(`s.subject = ${value(filter.subject)}`);
  if (filter.q !== undefined) conditions.push(`a.words @@ ${value(wordsQuery(filter.q))}::tsquery`);
  if (filter.since !== undefined) {
    const since = value(filter.since);
    conditions.push(`a.at >= ${since}::timestamptz`, order.notBefore(`(${FIRST_SINCE.replace('$', `${since}::timestamptz`)})`));
  }
  if (filter.until !== undefined) {
    const until = value(filter.until);
    conditions.push(`a.at < ${until}::timestamptz`, order.notAfter(`(${LAST_UNTIL.replace('$', `${until}::timestamptz`)})`));
  }
  const ascending = 'after' in page;
  if ('after' in page) conditions.push(order.notBefore(`${value(page.after + 1)}::bigint`));
  else if (page.before !== undefined) conditions.push(order.notAfter(`${value(page.before - 1)}::bigint`));
  const from =
    filter.subject === undefined ? 'chancery.audit a' : 'chancery.audit_subject s JOIN chancery.audit a ON a.position = s.position';
  const where = conditions.length === 0 ? 'true' : conditions.join(' AND ');
  const rows = await sqlQuery<Row>(
    db,
    `SELECT p.*, v.reason, v.request_id, encode(v.hash, 'hex') AS hash FROM (
       SELECT a.position, a.stream, a.version, a.at, a.category, a.gateway, a.action, a.actor, a.result, a.code, a.status, a.count, a.command_id, a.subjects, a.subject_count
       FROM ${from} WHERE ${where} ORDER BY ${ascending ? order.oldestFirst : order.newestFirst} LIMIT $1
     ) p LEFT JOIN LATERAL (
       SELECT v.reason, v.request_id, v.hash FROM chancery.version v WHERE v.stream = p.stream AND v.version = p.version LIMIT 1
     ) v ON true ORDER BY p.position ${ascending ? 'ASC' : 'DESC'}`,
    values,
  );
  return rows.map(toRow);
}

/** How rows are put in order: the same order always, said so that it is that of the index of what is filtered by. */
function orderOf(filter: AuditFilter): {
  oldestFirst: string;
  newestFirst: string;
  notBefore(position: string): string;
  notAfter(position: string): string;
} {
  const key = filter.subject !== undefined ? 's.position' : 'a.position';
  if (filter.subject === undefined && columns.some((column) => filter[column] !== undefined)) {
    const negative = '(-a.position)';
    return {
      oldestFirst: `${negative} DESC`,
      newestFirst: negative,
      notBefore: (position) => `${negative} <= -${position}`,
      notAfter: (position) => `${negative} >= -${position}`,
    };
  }
  return {
    oldestFirst: key,
    newestFirst: `${key} DESC`,
    notBefore: (position) => `${key} >= ${position}`,
    notAfter: (position) => `${key} <= ${position}`,
  };
}

/** The text of a tsquery: each word as it stands (a request id is kept whole), or all of its parts, which chancery.audit_words makes alike. */
export function wordsQuery(text: string): string {
  const quoted = (word: string) => `'${word.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
  const words = text.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase()).split(/\s+/);
  return words
    .flatMap((word) => {
      const parts = word.split(/[!-/:-@[-`{-~]+/).filter((part) => part !== '');
      return parts.length === 0 ? [] : [`(${quoted(word)} | ${parts.map(quoted).join(' & ')})`];
    })
    .join(' & ');
}

/** No row before it can be as late; and none after it as early, because no row lags behind those before it by more than the skew. */
const FIRST_SINCE = 'SELECT f.position FROM chancery.audit f WHERE f.latest_at >= $ ORDER BY f.latest_at, f.position LIMIT 1';
const LAST_UNTIL =
  'SELECT l.position FROM chancery.audit l WHERE l.latest_at < $ + (SELECT skew FROM chancery.audit_projection) ORDER BY l.latest_at DESC, l.position DESC LIMIT 1';

interface Row {
  position: number;
  stream: string;
  version: number;
  at: Date;
  category: AuditRow['category'];
  gateway: string | null;
  action: string;
  actor: string;
  result: AuditRow['result'];
  code: string | null;
  status: number | null;
  count: number;
  command_id: string;
  subjects: string[];
  subject_count: number;
  reason: string | null;
  request_id: string | null;
  hash: string | null;
}

function toRow(row: Row): AuditRow {
  return {
    position: row.position,
    at: row.at.toISOString(),
    category: row.category,
    stream: row.stream,
    version: row.version,
    gateway: row.gateway,
    action: row.action,
    actor: row.actor,
    subjects: row.subjects,
    subjectCount: row.subject_count,
    result: row.result,
    status: row.status,
    code: row.code,
    reason: row.reason,
    requestId: row.request_id,
    commandId: row.command_id,
    hash: row.hash ?? '',
    count: row.count,
  };
}
