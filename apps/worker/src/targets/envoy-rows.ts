import {
  type Acknowledged,
  closeEnvoyStreams,
  type EnvoyTarget,
  type OpenedEnvoyStream,
  openEnvoyStreams,
  whyNotOpened,
  writeAcknowledged,
} from '#features/rollout/envoy-stream.table.js';
import type { StreamOwner } from '#features/rollout/target-stream.table.js';
import type { Db } from '#platform/database/database.js';

/** Who says something within this time is written by one statement. Milliseconds. */
const GATHER_MS = 50;
/** After a statement that failed. Milliseconds. */
const AGAIN_MS = 1_000;

interface Opening {
  readonly target: EnvoyTarget;
  resolve(opened: OpenedEnvoyStream): void;
  reject(reason: unknown): void;
}

/**
 * The rows of Envoys without agents. A change is acknowledged by a thousand of them within a moment, and a thousand dial at once when a worker has died: one
 * statement at a time is under way, and what is to be written meanwhile goes with the next.
 */
export class EnvoyRows {
  readonly #db: Db;
  readonly #onError: (err: unknown) => void;
  #openings: Opening[] = [];
  #isOpening = false;
  readonly #acknowledged = new Map<StreamOwner, Acknowledged>();
  readonly #written = new WeakMap<StreamOwner, Acknowledged>();
  readonly #gone = new Set<StreamOwner>();
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #closed = false;

  constructor(db: Db, onError: (err: unknown) => void) {
    this.#db = db;
    this.#onError = onError;
  }

  /** Enrols an Envoy, or takes its target over. @throws DomainError as `whyNotOpened` says. */
  open(target: EnvoyTarget): Promise<OpenedEnvoyStream> {
    return new Promise((resolve, reject) => {
      this.#openings.push({ target, resolve, reject });
      if (!this.#isOpening) void this.#open();
    });
  }

  /** The newest that it has acknowledged: to be written, unless the row says so already. */
  acknowledged(owner: StreamOwner, acknowledged: Acknowledged): void {
    const known = this.#acknowledged.get(owner) ?? this.#written.get(owner);
    if (known?.version === acknowledged.version && known.error === acknowledged.error) return;
    this.#acknowledged.set(owner, acknowledged);
    this.#schedule(GATHER_MS);
  }

  /** Its stream has ended: nobody holds the target until another opens. */
  gone(owner: StreamOwner): void {
    this.#gone.add(owner);
    this.#schedule(GATHER_MS);
  }

  /** Writes what is still to be written. Nothing is taken afterwards. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#writing;
    await this.#write();
  }

  async #open(): Promise<void> {
    this.#isOpening = true;
    while (this.#openings.length > 0) {
      // One that dials twice at once opens twice, one after the other.
      const some = new Map<string, Opening>();
      const later = this.#openings.filter((opening) => some.has(opening.target.name) || !some.set(opening.target.name, opening));
      this.#openings = later;
      await this.#openAll(some);
    }
    this.#isOpening = false;
  }

  async #openAll(openings: ReadonlyMap<string, Opening>): Promise<void> {
    try {
      const opened = await openEnvoyStreams(
        this.#db,
        [...openings.values()].map(({ target }) => target),
      );
      for (const [name, { target, resolve, reject }] of openings) {
        const stream = opened.get(name);
        if (stream !== undefined) resolve(stream);
        else whyNotOpened(this.#db, target).then(reject, reject);
      }
    } catch (err) {
      for (const { reject } of openings.values()) reject(err);
    }
  }

  #schedule(afterMs: number): void {
    if (this.#timer !== undefined || this.#writing !== undefined || this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#writing = this.#write().then((written) => {
        this.#writing = undefined;
        if (this.#acknowledged.size + this.#gone.size > 0) this.#schedule(written ? GATHER_MS : AGAIN_MS);
      });
    }, afterMs);
  }

  async #write(): Promise<boolean> {
    const [said, gone] = [[...this.#acknowledged], [...this.#gone]];
    this.#acknowledged.clear();
    this.#gone.clear();
    for (const [owner, acknowledged] of said) this.#written.set(owner, acknowledged);
    try {
      if (said.length > 0) await writeAcknowledged(this.#db, said);
      if (gone.length > 0) await closeEnvoyStreams(this.#db, gone); // last: what they have acknowledged says that they are connected
      return true;
    } catch (err) {
      for (const [owner, acknowledged] of said) {
        this.#written.delete(owner);
        if (!this.#acknowledged.has(owner)) this.#acknowledged.set(owner, acknowledged);
      }
      for (const owner of gone) this.#gone.add(owner);
      this.#onError(err);
      return false;
    }
  }
}
