import {
  beginRoutes,
  CursorMovedError,
  type ProjectedVersion,
  parkRoutes,
  projectRoutes,
  readRouteProjections,
} from '#features/mapping/mapping.projection.js';
import type { Database } from '#platform/database/database.js';
import { classify } from '#platform/eventstore/database-errors.js';
import { type Follower, follow, type LoggedVersion, type Wake } from '#platform/eventstore/follower.js';
import { readSnapshot } from '#platform/eventstore/read-log.js';
import { failpoint } from '#platform/failpoint/failpoint.js';
import type { Log } from '#platform/log/log.js';

const STREAMS = 'gateway/%';
const POLL_MS = 1_000;

export interface RouteProjector {
  /** Resolves when everything that is recorded now is in the tables, parked gateways excepted. */
  caughtUp(): Promise<void>;
  /** Resolves when the tables' cursors are not where this projector left them (another one wrote, or a reset): begin again. */
  readonly moved: Promise<void>;
  close(): Promise<void>;
}

export interface RouteProjectorOptions {
  readonly database: Database;
  readonly wake: Wake;
  readonly log: Log;
  onApplied(versions: number): void;
}

/**
 * Folds `gateway/%` into the route tables, each gateway from its own cursor, rows and cursor in one statement.
 *
 * A version that cannot be folded, for a reason that lies in it and not in the moment, is parked with its reason: that gateway's table stays where it is,
 * the others go on, and nothing crashes or is tried for ever. A start tries a parked gateway again (the program may know better by now).
 */
export function startRouteProjector(options: RouteProjectorOptions): RouteProjector {
  const { database, log } = options;
  const parked = new Set<string>();
  let onMoved: () => void = () => undefined;
  const moved = new Promise<void>((resolve) => {
    onMoved = resolve;
  });

  const apply = async ({ stream, versions }: { stream: string; versions: readonly LoggedVersion[] }) => {
    const gateway = gatewayOf(stream);
    if (parked.has(gateway)) return; // passed over in this process; the cursor in the database stays before the parked version
    try {
      await applyBatch(database, gateway, versions);
      options.onApplied(versions.length);
    } catch (error) {
      if (error instanceof CursorMovedError) onMoved();
      if (!isPoison(error)) throw error;
      const at = await applyOneByOne(database, gateway, versions);
      if (at === undefined) return; // the second time it went through
      parked.add(gateway);
      log.error(
        { err: at.error, gateway, version: at.version },
        'a version cannot be folded: the route table of this gateway is parked before it',
      );
    }
  };

  const follower = follow({
    database,
    streams: STREAMS,
    start: (stream) => begin(options, gatewayOf(stream)),
    apply,
    wake: options.wake,
    pollMs: POLL_MS,
    log,
  });
  const watch = setInterval(() => {
    compareCursors(database, follower, parked).then(
      (same) => same || onMoved(),
      (err: unknown) => log.warn({ err }, 'the cursors could not be compared; it is tried again'),
    );
  }, POLL_MS);
  return {
    caughtUp: () => follower.caughtUp(),
    moved,
    close: async () => {
      clearInterval(watch);
      await follower.close();
    },
  };
}

function gatewayOf(stream: string): string {
  return stream.slice('gateway/'.length);
}

/**
 * Where to go on. A table that is empty (a new gateway, a reset) begins with what lives now; when that cannot be folded, with the first event, so that the
 * table goes as far as it can and names the version at which it stops.
 */
async function begin({ database, log, onApplied }: RouteProjectorOptions, gateway: string): Promise<number> {
  const cursor = async () => (await readRouteProjections(database.db, gateway))[0]?.version ?? 0;
  const known = await cursor();
  if (known > 0) return known;
  const snapshot = await readSnapshot(database.db, `gateway/${gateway}`);
  try {
    await database.db.transaction().execute((tx) => beginRoutes(tx, gateway, snapshot));
  } catch (err) {
    if (!isPoison(err)) throw err;
    log.warn({ err, gateway }, 'what lives now cannot be folded as it is: the route table is folded from the first event');
    return 0;
  }
  onApplied(snapshot.version);
  return cursor();
}

async function applyBatch(database: Database, gateway: string, versions: readonly ProjectedVersion[]): Promise<void> {
  failpoint('projector.beforeApply');
  await projectRoutes(database.db, gateway, versions);
  failpoint('projector.afterApply');
}

/** Each version by itself, up to the one that fails, which is parked. */
async function applyOneByOne(
  database: Database,
  gateway: string,
  versions: readonly ProjectedVersion[],
): Promise<{ version: number; error: unknown } | undefined> {
  for (const version of versions) {
    try {
      await projectRoutes(database.db, gateway, [version]);
    } catch (error) {
      if (!isPoison(error)) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      await database.db.transaction().execute((tx) => parkRoutes(tx, gateway, { version: version.version, reason }));
      return { version: version.version, error };
    }
  }
  return undefined;
}

/** Does the failure lie in the event (a value the table cannot hold, a state the fold trips over) and not in the moment? */
function isPoison(error: unknown): boolean {
  if (error instanceof CursorMovedError) return false;
  if (error instanceof Error && error.message.startsWith('failpoint ')) return false;
  return ['unstorable', 'defect'].includes(classify(error)) && !isSchemaFault(error);
}

/** A table, column or right that is missing: the release and the database do not fit, which concerns every gateway and is not the event's doing. */
function isSchemaFault(error: unknown): boolean {
  return /^(42|3F)/.test(String((error as { code?: unknown }).code ?? ''));
}

async function compareCursors(database: Database, follower: Follower, parked: ReadonlySet<string>): Promise<boolean> {
  const gateways = (await readRouteProjections(database.db)).map(({ gateway }) => gateway);
  // Positions before cursors: a batch that commits in between makes the cursor the larger one, which is as it should be.
  const before = new Map(
    gateways.map((gateway) => [gateway, { position: follower.position(`gateway/${gateway}`), parked: parked.has(gateway) }]),
  );
  return (await readRouteProjections(database.db)).every(({ gateway, version, parked: at }) => {
    const known = before.get(gateway);
    if (known === undefined) return true;
    return known.parked ? at !== null : version >= known.position; // a reset lifts the parking and sets the cursor back
  });
}
