import { type Database, sqlQuery } from '#platform/database/database.js';
import { requireSchema } from '#platform/database/migrator.js';
import { withDeadline } from '#platform/http/query-runner.js';
import type { Log } from '#platform/log/log.js';

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  /** What is wrong and what to do; '' when nothing is. No internals: everyone may read this. */
  readonly detail: string;
}

const DEADLINE_MS = 2_000;

/** Whether this process can do its work right now. Asked anew each time, because yesterday's answer helps nobody. */
export class Readiness {
  #started = false;
  #ending = false;

  /** The checks that failed last time, so that the log tells of changes and not of every look. */
  readonly #failing = new Set<string>();

  constructor(
    private readonly database: Database,
    private readonly log: Log,
  ) {}

  /** Called once the default gateway exists. */
  started(): void {
    this.#started = true;
  }

  /** Called when the process has been told to end: balancers should look elsewhere before the port closes. */
  ending(): void {
    this.#ending = true;
  }

  async checks(): Promise<Check[]> {
    const [database, migrations] = await Promise.all([
      this.#check('database', 'The database does not answer.', () => sqlQuery(this.database.db, 'SELECT 1', [])),
      this.#check(
        'migrations',
        'The schema is not one that this release works with: migrate, as the owner role, or run the release that did.',
        () => requireSchema(this.database.db),
      ),
    ]);
    return [
      database,
      migrations,
      { name: 'start', ok: this.#started, detail: this.#started ? '' : 'Still starting: the default gateway is not there yet.' },
      { name: 'running', ok: !this.#ending, detail: this.#ending ? 'This process is ending.' : '' },
    ];
  }

  /** How far the route tables are behind the log. Never a reason not to be ready: writes and the gateways do not need them. */
  async projection(): Promise<Check> {
    let [lag, parked] = [0, 0];
    const check = await this.#check('projection', 'How far it is behind cannot be read.', async () => {
      const [row] = await sqlQuery<{ lag: number; parked: number }>(this.database.db, PROJECTION_LAG, []);
      [lag, parked] = [row?.lag ?? 0, row?.parked ?? 0];
    });
    if (!check.ok) return { ...check, ok: true };
    const stopped = parked === 0 ? '' : ` ${parked} stopped at an event that cannot be folded; see chancery.route_projection.`;
    return { name: 'projection', ok: true, detail: `The route tables are at most ${lag} versions behind the log.${stopped}` };
  }

  async #check(name: string, detail: string, work: () => Promise<unknown>): Promise<Check> {
    try {
      await withDeadline(work(), DEADLINE_MS);
      if (this.#failing.delete(name)) this.log.info({ check: name }, 'ready again');
      return { name, ok: true, detail: '' };
    } catch (error) {
      if (!this.#failing.has(name)) this.log.warn({ err: error, check: name }, 'not ready');
      this.#failing.add(name);
      return { name, ok: false, detail };
    }
  }
}

/** Numbers, small enough for a double: versions of one stream. */
const PROJECTION_LAG = `
  SELECT coalesce(max(s.version - coalesce(p.version, 0)), 0)::float8 AS lag, (count(p.parked_version))::float8 AS parked
    FROM chancery.stream s LEFT JOIN chancery.route_projection p ON p.gateway = substr(s.stream, length('gateway/') + 1)
   WHERE s.stream LIKE 'gateway/%'`;
