import { type Db, sqlQuery } from '#platform/database/database.js';
import type { JsonObject } from '#platform/kernel/json.js';

import type { AwaitedVersion, ConfirmationState } from './confirmation.js';

/** What became of a version that asked to be confirmed; null while that is open. */
export type Settled = 'confirmed' | 'reverted' | 'conflicted';

interface AwaitedRow {
  gateway: string;
  version: number;
  deadline: Date;
  overdue: boolean;
}

const COLUMNS = "substr(c.stream, length('gateway/') + 1) AS gateway, c.version, c.deadline, c.deadline <= clock_timestamp() AS overdue";

/** The versions whose time to be confirmed is over and of which nothing is settled, by the database's clock; the longest overdue first. */
export async function listOverdue(db: Db, limit: number): Promise<AwaitedVersion[]> {
  const rows = await sqlQuery<AwaitedRow>(
    db,
    `SELECT ${COLUMNS} FROM chancery.confirmation c WHERE c.settled IS NULL AND c.deadline <= clock_timestamp() ORDER BY c.deadline LIMIT $1`,
    [limit],
  );
  return rows.map(toAwaited);
}

/** Whether a version asked to be confirmed, until when, and whether that is over by the database's clock. */
export async function readAwaited(
  db: Db,
  gateway: string,
  version: number,
): Promise<(AwaitedVersion & { readonly isOverdue: boolean }) | undefined> {
  const [row] = await sqlQuery<AwaitedRow>(
    db,
    `SELECT ${COLUMNS} FROM chancery.confirmation c WHERE c.stream = 'gateway/' || $1::text AND c.version = $2`,
    [gateway, version],
  );
  return row && { ...toAwaited(row), isOverdue: row.overdue };
}

/** Notes what the log says became of a version, so that nobody looks at it again. What is noted stays. */
export async function noteSettled(
  db: Db,
  { gateway, version }: Pick<AwaitedVersion, 'gateway' | 'version'>,
  settled: Settled,
): Promise<void> {
  await sqlQuery(
    db,
    "UPDATE chancery.confirmation SET settled = $3 WHERE stream = 'gateway/' || $1::text AND version = $2 AND settled IS NULL",
    [gateway, version, settled],
  );
}

/** One version that asked to be confirmed. */
export interface ConfirmationView {
  readonly version: number;
  readonly state: 'open' | Settled;
  readonly deadline: string;
  readonly settledAt: string | null;
  readonly confirmedBy: string | null;
  readonly reason: string | null;
  /** The version that undid it; null when none was needed or made. */
  readonly revertVersion: number | null;
  /** What could not be undone, because it has become something else since. */
  readonly conflicts: readonly JsonObject[];
}

/** The versions of a gateway that asked to be confirmed, newest first; `before` is the last version of the page before. */
export async function listConfirmations(
  db: Db,
  filter: { readonly gateway: string; readonly before: number | undefined; readonly state: string | undefined; readonly limit: number },
): Promise<ConfirmationView[]> {
  const rows = await sqlQuery<{
    version: number;
    deadline: Date;
    shown: ConfirmationView['state'];
    state: JsonObject | null;
    recorded_at: Date;
  }>(
    db,
    // The log is asked too: what is confirmed there counts, whether it is noted in the row yet or not.
    `SELECT * FROM (
       SELECT c.version, c.deadline, s.state, s.recorded_at,
              coalesce(c.settled, nullif(s.state->>'state', 'expired'), 'open') AS shown
         FROM chancery.confirmation c
         LEFT JOIN chancery.subject s ON s.stream = 'rollout/' || $1::text AND s.subject = 'confirmation/' || c.version
        WHERE c.stream = 'gateway/' || $1::text AND ($2::bigint IS NULL OR c.version < $2)) shown
      WHERE $3::text IS NULL OR shown.shown = $3 ORDER BY shown.version DESC LIMIT $4`,
    [filter.gateway, filter.before ?? null, filter.state ?? null, filter.limit],
  );
  return rows.map(({ version, deadline, shown, state, recorded_at }) => {
    const { confirmedBy, reason, revertVersion, conflicts } = (state ?? {}) as ConfirmationState & Partial<ConfirmationView>;
    const settledAt = shown === 'open' ? null : (recorded_at?.toISOString() ?? null);
    return {
      version,
      state: shown,
      deadline: deadline.toISOString(),
      settledAt,
      confirmedBy: confirmedBy ?? null,
      reason: reason ?? null,
      revertVersion: revertVersion ?? null,
      conflicts: conflicts ?? [],
    };
  });
}

function toAwaited({ gateway, version, deadline }: AwaitedRow): AwaitedVersion {
  return { gateway, version, deadline: deadline.toISOString() };
}
