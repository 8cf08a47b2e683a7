import type { DevConfig } from '#platform/config/dev-config.js';
import { identifyProcess, isRunning, type ProcessIdentity } from '#platform/envoy/process-identity.js';

import type { DataFolder } from './data-folder.js';
import { type DevDatabase, openDevDatabase, startEmbedded } from './dev-database.js';
import type { Reporter } from './reporter.js';

const WATCH_EVERY_MS = 200;
const RETRY_AFTER_MS = 2_000;

/**
 * Keeps the embedded Postgres running. It is no child of ours (it must outlive a supervisor that is killed), so its death is seen by looking; it is
 * started again on the same port, so that the processes find it by themselves. A database of the user's own is left alone.
 */
export class DatabaseKeeper {
  #database: DevDatabase | undefined;
  #process: ProcessIdentity | undefined;
  /** The start that is under way, or the last one: stop() waits for it, so that no server is started behind its back. */
  #opening: Promise<unknown> = Promise.resolve();
  #watch: NodeJS.Timeout | undefined;
  #stopping = false;
  readonly #folder: DataFolder;
  readonly #reporter: Reporter;
  readonly #onChange: () => void;

  /** @param options.onChange called when the server's pid has changed */
  constructor(options: { folder: DataFolder; reporter: Reporter; onChange: () => void }) {
    this.#folder = options.folder;
    this.#reporter = options.reporter;
    this.#onChange = options.onChange;
  }

  /** Undefined for a database that is not ours, or when it does not run. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Starts, migrates and from then on watches. @throws DevError */
  async open(config: DevConfig, port: number | undefined): Promise<DevDatabase> {
    const began = performance.now();
    if (config.databaseUrl === undefined)
      this.#reporter.progress('postgres', port === undefined ? 'making a database (a few seconds, once)' : 'starting');
    const opening = openDevDatabase(config, this.#folder, port);
    this.#opening = opening;
    const database = await opening;
    this.#database = database;
    const { postgres, applied } = database;
    const where =
      postgres === undefined
        ? 'DATABASE_URL'
        : `embedded · ${this.#folder.postgres} (${port === undefined ? 'new' : 'kept'}), port ${postgres.port}`;
    this.#reporter.progress('postgres', `${where} · ${applied} migrations applied`, performance.now() - began);
    if (postgres !== undefined) {
      this.#process = identifyProcess(postgres.pid) ?? undefined;
      this.#watch = setInterval(() => this.#look(), WATCH_EVERY_MS);
    }
    return database;
  }

  /** Fast shutdown, everything flushed. Data of a database that is not ours stays where it is. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#watch);
    await this.#opening.catch(() => undefined); // whoever began it has reported that it failed
    await this.#database?.postgres?.stop();
  }

  #look(): void {
    if (this.#process === undefined || isRunning(this.#process) || this.#stopping) return;
    clearInterval(this.#watch);
    const { pid } = this.#process;
    this.#process = undefined;
    this.#reporter.died('postgres', { pid, how: 'it is gone', retryInMs: 0, log: `${this.#folder.postgres}/postgres.log` });
    this.#restart();
  }

  #restart(): void {
    if (this.#stopping) return;
    const port = this.#database?.postgres?.port;
    const starting = startEmbedded(this.#folder, port);
    this.#opening = starting;
    starting.then(
      (database) => this.#isBack(database, port),
      (error: Error) => {
        this.#reporter.note(`${error.message} It is tried again every ${RETRY_AFTER_MS / 1000} s.`);
        setTimeout(() => this.#restart(), RETRY_AFTER_MS);
      },
    );
  }

  #isBack(database: DevDatabase, formerPort: number | undefined): void {
    this.#database = database;
    const { postgres } = database;
    if (postgres === undefined || this.#stopping) return;
    this.#process = identifyProcess(postgres.pid) ?? undefined;
    this.#watch = setInterval(() => this.#look(), WATCH_EVERY_MS);
    if (postgres.port !== formerPort) {
      this.#reporter.note(
        `Postgres' port ${formerPort} is taken, it runs on ${postgres.port}: end bin/dev and start it again, so that all processes use that one`,
      );
    }
    this.#onChange();
    this.#reporter.restarted('postgres', postgres.pid);
  }
}
