import { failpoint } from '#platform/failpoint/failpoint.js';
import type { Log } from '#platform/log/log.js';
import type { Look, Queue } from '#platform/queue/queue.js';

/** A target whose job has not come this long after it was asked for is looked at without it. Milliseconds. */
const patienceMs = 1_000;

/**
 * Who asks for looks and who runs them. Looks at one target never overlap in this process: one that comes while another runs
 * makes one more round after it, however many come.
 *
 * The queue runs them; it is waited for no longer than its patience lasts, because what it holds may be the job of a worker that died.
 */
export class LookRunner {
  readonly #log: Log;
  readonly #look: (look: Look) => Promise<void>;
  readonly #held: (target: string) => boolean;
  readonly #running = new Map<string, { again: boolean; done: Promise<void> }>();
  readonly #awaited = new Map<string, NodeJS.Timeout>();
  #queue: Queue | undefined;
  #closed = false;

  /** `held`: whether this worker holds the target's stream, so that a look here can do something. */
  constructor(options: { readonly log: Log; look(look: Look): Promise<void>; held(target: string): boolean }) {
    this.#log = options.log;
    this.#look = options.look;
    this.#held = options.held;
  }

  /** From here on looks go through this queue. */
  use(queue: Queue): void {
    this.#queue = queue;
    queue.work((look) => this.run(look));
  }

  /** Asks for a look through the queue; without it while that is not open, does not take jobs or does not bring this one in time. */
  request(target: string): void {
    if (this.#closed) return;
    if (this.#queue === undefined) {
      this.runNow(target);
      return;
    }
    if (!this.#awaited.has(target))
      this.#awaited.set(
        target,
        setTimeout(() => this.#overdue(target), patienceMs),
      );
    this.#queue.add(target, { hurry: true }).then(
      () => failpoint('worker.afterEnqueue'),
      (err: unknown) => {
        this.#log.warn({ err, target }, 'the queue does not take jobs; the target is looked at without it');
        this.runNow(target);
      },
    );
  }

  /** Looks without the queue: for the holder of a target that another worker's job was about, and while the queue is away. */
  runNow(target: string): void {
    this.run({ target, attempt: 1 }).catch((err: unknown) =>
      this.#log.warn({ err, target }, 'a look at a target failed; the sweep tries again'),
    );
  }

  async run(look: Look): Promise<void> {
    // Another worker's target: only its holder's look answers what was asked for, and the look that follows here tells the holder.
    if (this.#held(look.target)) this.#came(look.target);
    const running = this.#running.get(look.target);
    if (running !== undefined) {
      running.again = true;
      return running.done;
    }
    if (this.#closed) return;
    const entry = { again: false, done: Promise.resolve() };
    entry.done = this.#rounds(look, entry).finally(() => this.#running.delete(look.target));
    this.#running.set(look.target, entry);
    return entry.done;
  }

  /** No new looks; those under way end with their sessions. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const target of [...this.#awaited.keys()]) this.#came(target);
    await Promise.allSettled([...this.#running.values()].map(({ done }) => done));
  }

  #came(target: string): void {
    clearTimeout(this.#awaited.get(target));
    this.#awaited.delete(target);
  }

  /** The job may be behind one that a dead worker held, or lost: the queue forgets it, so that the next one finds its way. */
  #overdue(target: string): void {
    this.#came(target);
    if (!this.#held(target) || this.#closed) return;
    if (!this.#running.has(target)) {
      this.#log.warn({ target, patienceMs }, 'the queue did not bring a job in time; the target is looked at without it');
      this.#queue?.forget(target).catch((err: unknown) => this.#log.warn({ err, target }, 'the queue could not forget a job'));
    }
    this.runNow(target);
  }

  async #rounds(look: Look, entry: { again: boolean }): Promise<void> {
    do {
      entry.again = false;
      await this.#look(look);
    } while (entry.again && !this.#closed);
  }
}
