import { failpoint } from '#platform/failpoint/failpoint.js';
import type { Log } from '#platform/log/log.js';
import type { Look, Queue } from '#platform/queue/queue.js';

/**
 * Who asks for looks and who runs them. Looks at one target never overlap in this process: one that comes while another runs
 * makes one more round after it, however many come.
 */
export class LookRunner {
  readonly #log: Log;
  readonly #look: (look: Look) => Promise<void>;
  readonly #running = new Map<string, { again: boolean; done: Promise<void> }>();
  #queue: Queue | undefined;
  #closed = false;

  constructor(options: { readonly log: Log; look(look: Look): Promise<void> }) {
    this.#log = options.log;
    this.#look = options.look;
  }

  /** From here on looks go through this queue. */
  use(queue: Queue): void {
    this.#queue = queue;
    queue.work((look) => this.run(look));
  }

  /** Asks for a look through the queue; without it while that is not open or does not take jobs. */
  request(target: string, options: { readonly always?: boolean } = {}): void {
    if (this.#closed) return;
    if (this.#queue === undefined) {
      this.runNow(target);
      return;
    }
    this.#queue.add(target, { hurry: options.always !== true, always: options.always === true }).then(
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
    await Promise.allSettled([...this.#running.values()].map(({ done }) => done));
  }

  async #rounds(look: Look, entry: { again: boolean }): Promise<void> {
    do {
      entry.again = false;
      await this.#look(look);
    } while (entry.again && !this.#closed);
  }
}
