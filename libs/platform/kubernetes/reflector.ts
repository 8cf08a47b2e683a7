import { setTimeout as pause } from 'node:timers/promises';

import { type ApiConnection, ApiFault } from './api-connection.js';
import { type ApiObject, versionOf } from './api-object.js';
import { ObjectStore } from './object-store.js';
import { VersionGone, watchEvents } from './watch-events.js';

export interface ReflectorOptions {
  readonly connection: ApiConnection;
  /** Of the list: `/api/v1/namespaces/shop/services`. */
  readonly path: string;
  readonly labelSelector?: string;
  /** These objects are not what they were (by `namespace/name`). Also called once with everything when the first list has come. */
  onChange(keys: ReadonlySet<string>): void;
  /** What is wrong between us and the API server is another thing than before; '' when nothing is. */
  onError(error: string): void;
  readonly tuning?: Partial<ReflectorTuning>;
}

export interface ReflectorTuning {
  readonly pageSize: number;
  /** How long a watch is asked for. */
  readonly watchS: number;
  /** One that has not ended so long after that is on a line that is dead without a word: it is given up, and begun again where it was. */
  readonly watchGraceS: number;
  readonly leastBackoffMs: number;
  /** Few workers watch, so that the wait may stay short: it is also how long the news of an outage's end may take. */
  readonly mostBackoffMs: number;
}

const usual: ReflectorTuning = { pageSize: 500, watchS: 45, watchGraceS: 5, leastBackoffMs: 100, mostBackoffMs: 5_000 };

/**
 * Keeps the objects of one list as the API server has them: a list, then a watch from its version, begun again whenever it ends.
 *
 * listing -> watching -> (its end) watching ... -> (410) listing. Any failure waits with growing pauses and goes on in the state in which it was; what
 * is known stays. The pauses grow until something was heard on a watch: that a connection was made says nothing yet.
 */
export class Reflector<T extends ApiObject> {
  readonly #options: ReflectorOptions;
  readonly #tuning: ReflectorTuning;
  readonly #store = new ObjectStore<T>();
  readonly #ending = new AbortController();
  #version: string | undefined;
  #failures = 0;
  #error = '';
  #running: Promise<void> = Promise.resolve();
  #synced = false;
  #listed: () => void = () => undefined;
  readonly #firstList = new Promise<void>((resolve) => {
    this.#listed = resolve;
  });
  /** How often a watch was begun again: a figure for operators. */
  #restarts = -1;

  constructor(options: ReflectorOptions) {
    this.#options = options;
    this.#tuning = { ...usual, ...options.tuning };
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#ending.abort();
    await this.#running;
  }

  get objects(): ReadonlyMap<string, T> {
    return this.#store.objects;
  }

  /** Resolves with the first list; never rejects, and stays open while there is none. */
  get firstList(): Promise<void> {
    return this.#firstList;
  }

  get isSynced(): boolean {
    return this.#synced;
  }

  get error(): string {
    return this.#error;
  }

  get restarts(): number {
    return Math.max(0, this.#restarts);
  }

  async #run(): Promise<void> {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      try {
        if (this.#version === undefined) await this.#list();
        await this.#watch();
        // A server that ends every watch at once, without a word, is as good as one that refuses.
        await this.#wait(undefined);
      } catch (error) {
        if (signal.aborted) return;
        if (isGone(error)) this.#version = undefined;
        this.#failures += 1;
        this.#fault(error instanceof VersionGone ? '' : (error as Error).message);
        await this.#wait(error);
      }
    }
  }

  async #list(): Promise<void> {
    const { connection, path, labelSelector } = this.#options;
    const items: T[] = [];
    let next: string | undefined;
    let version = '';
    do {
      const page: { items?: T[]; metadata?: { resourceVersion?: string; continue?: string } } = await connection.json({
        path,
        query: { labelSelector, limit: this.#tuning.pageSize, continue: next },
        signal: this.#ending.signal,
      });
      for (const item of page.items ?? []) items.push(item);
      version = page.metadata?.resourceVersion ?? '';
      next = page.metadata?.continue || undefined;
    } while (next !== undefined);
    this.#version = version;
    const changed = this.#store.replace(items);
    const first = !this.#synced;
    this.#synced = true;
    if (changed.size > 0 || first) this.#options.onChange(changed);
    this.#fault('');
    this.#listed();
  }

  async #watch(): Promise<void> {
    const { connection, path, labelSelector, onChange } = this.#options;
    const watchS = Math.ceil(this.#tuning.watchS * (1 + Math.random() / 4)); // not all workers at once
    const deadline = AbortSignal.timeout((watchS + this.#tuning.watchGraceS) * 1_000);
    const answer = await connection.open({
      path,
      query: { labelSelector, watch: true, allowWatchBookmarks: true, resourceVersion: this.#version, timeoutSeconds: watchS },
      signal: AbortSignal.any([this.#ending.signal, deadline]),
    });
    this.#restarts += 1;
    this.#fault('');
    for await (const events of watchEvents<T>(answer)) {
      this.#failures = 0;
      const changed = this.#store.apply(events);
      this.#version = versionOf(events.at(-1)?.object ?? {}) || this.#version;
      if (changed.size > 0) onChange(changed);
    }
  }

  async #wait(error: unknown): Promise<void> {
    const { leastBackoffMs, mostBackoffMs } = this.#tuning;
    const grown = Math.min(mostBackoffMs, leastBackoffMs * 2 ** Math.min(this.#failures, 20));
    const asked = error instanceof ApiFault ? (error.retryAfterMs ?? 0) : 0;
    const waitMs = Math.max(this.#failures === 0 ? leastBackoffMs : grown * (0.5 + Math.random() / 2), Math.min(asked, 60_000));
    await pause(waitMs, undefined, { signal: this.#ending.signal }).catch(() => undefined);
  }

  #fault(error: string): void {
    if (error === this.#error) return;
    this.#error = error;
    this.#options.onError(error);
  }
}

function isGone(error: unknown): boolean {
  return error instanceof VersionGone || (error instanceof ApiFault && error.status === 410);
}
