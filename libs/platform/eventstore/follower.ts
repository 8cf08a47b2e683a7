import { setTimeout as sleep } from 'node:timers/promises';

import type { Database, DatabaseLog } from '#platform/database/database.js';

import { listStreams } from './read-log.js';
import { type LoggedVersion, readVersions } from './read-versions.js';
import type { Wake } from './wake.js';

export type { LoggedVersion } from './read-versions.js';
export type { Wake } from './wake.js';
export { createWake } from './wake.js';

export interface FollowOptions {
  readonly database: Database;
  /** A LIKE pattern: `gateway/%`. Streams that begin later are found. */
  readonly streams: string;
  /** The last version of the stream that was applied: asked once per stream, before its first batch. 0 = from the beginning. */
  start(stream: string): Promise<number>;
  /**
   * Applies versions in order, one batch at a time per stream. When it throws, the same versions are brought again after a while, never
   * skipped. An effect in the database belongs into one transaction with its cursor, which it compares first: a commit whose answer was lost
   * is brought again too.
   */
  apply(batch: { readonly stream: string; readonly versions: readonly LoggedVersion[] }): Promise<void>;
  readonly wake: Wake;
  /** How often to look without being woken: what bounds the delay when a notification is lost. */
  readonly pollMs: number;
  readonly log?: DatabaseLog;
  /** Each failure, with the stream that waits because of it. */
  onError?(error: unknown, stream: string): void;
}

export interface Follower {
  /** Resolves when everything that is recorded now has been applied; rejects when it is closed before it could ask what is. */
  caughtUp(): Promise<void>;
  /** Ends after the batch under way. */
  close(): Promise<void>;
  /** The last version applied; 0 for a stream not met yet. */
  position(stream: string): number;
}

const STREAMS_AT_ONCE = 4;
const RETRY_MS = { first: 50, most: 5_000 };

interface StreamState {
  cursor: number | undefined;
  /** Look again: something happened since the last look began. */
  due: boolean;
  running: boolean;
  retryMs: number;
  retryAt: number;
}

/** Follows the streams that match a pattern, each from its own cursor. Notifications only wake; the timer is what is relied on. */
export function follow(options: FollowOptions): Follower {
  return new LogFollower(options);
}

class LogFollower implements Follower {
  private readonly streams = new Map<string, StreamState>();
  private readonly matches: (stream: string) => boolean;
  private readonly unsubscribe: () => void;
  private readonly waiters = new Set<{ heads: ReadonlyMap<string, number>; resolve(): void }>();
  private readonly work = new Set<Promise<void>>();
  private readonly options: FollowOptions;
  private timer: NodeJS.Timeout | undefined;
  private closed = false;

  constructor(options: FollowOptions) {
    this.options = options;
    this.matches = likeMatcher(options.streams);
    this.unsubscribe = options.wake.subscribe((stream) => {
      if (stream === undefined) this.track(this.look());
      else if (this.matches(stream)) this.makeDue(stream);
    });
    this.tick();
  }

  position(stream: string): number {
    return this.streams.get(stream)?.cursor ?? 0;
  }

  async caughtUp(): Promise<void> {
    const heads = await this.heads();
    for (const [stream, version] of heads) if (this.position(stream) < version) this.makeDue(stream);
    return new Promise((resolve) => {
      this.waiters.add({ heads, resolve });
      this.tellWaiters();
    });
  }

  /** A database that is away is waited out: a process that begins meanwhile is one that nobody need start again. */
  private async heads(): Promise<ReadonlyMap<string, number>> {
    for (let retryMs = RETRY_MS.first; ; retryMs = Math.min(retryMs * 2, RETRY_MS.most)) {
      try {
        const streams = await listStreams(this.options.database.db, this.options.streams);
        return new Map(streams.map(({ stream, version }) => [stream, version]));
      } catch (error) {
        if (this.closed) throw error;
        this.report(error, this.options.streams);
        await sleep(retryMs);
      }
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    this.unsubscribe();
    clearTimeout(this.timer);
    while (this.work.size > 0) await Promise.all(this.work);
  }

  private tick(): void {
    this.track(
      this.look().finally(() => {
        if (!this.closed) this.timer = setTimeout(() => this.tick(), this.options.pollMs);
      }),
    );
  }

  private track(work: Promise<void>): void {
    const tracked = work.catch((err) => this.options.log?.error({ err }, 'a follower failed')).finally(() => this.work.delete(tracked));
    this.work.add(tracked);
  }

  /** Compares all heads with the cursors. */
  private async look(): Promise<void> {
    try {
      for (const { stream, version } of await listStreams(this.options.database.db, this.options.streams)) {
        if (this.streams.get(stream)?.cursor !== version) this.makeDue(stream);
      }
    } catch (error) {
      this.report(error, this.options.streams); // the next tick looks again
    }
  }

  private makeDue(stream: string): void {
    let state = this.streams.get(stream);
    if (!state) {
      state = { cursor: undefined, due: false, running: false, retryMs: RETRY_MS.first, retryAt: 0 };
      this.streams.set(stream, state);
    }
    state.due = true;
    this.dispatch();
  }

  private dispatch(): void {
    if (this.closed) return;
    let running = 0;
    for (const state of this.streams.values()) if (state.running) running += 1;
    const now = performance.now();
    for (const [stream, state] of this.streams) {
      if (running >= STREAMS_AT_ONCE) return;
      if (!state.due || state.running || state.retryAt > now) continue;
      running += 1;
      state.running = true;
      this.track(
        this.catchUp(stream, state).finally(() => {
          state.running = false;
          this.dispatch();
        }),
      );
    }
  }

  private async catchUp(stream: string, state: StreamState): Promise<void> {
    try {
      while (state.due && !this.closed) {
        state.due = false;
        state.cursor ??= await this.options.start(stream);
        for (let more = true; more; ) {
          const news = await readVersions(this.options.database, stream, state.cursor);
          const last = news.versions.at(-1);
          if (!last || this.closed) break;
          await this.options.apply({ stream, versions: news.versions });
          state.cursor = last.version;
          state.retryMs = RETRY_MS.first;
          more = news.more; // else it is all that there was: what came since has its own notification
          this.tellWaiters();
        }
        this.tellWaiters();
      }
    } catch (error) {
      this.report(error, stream);
      state.due = true;
      state.retryAt = performance.now() + state.retryMs;
      setTimeout(() => this.dispatch(), state.retryMs + 1).unref();
      state.retryMs = Math.min(state.retryMs * 2, RETRY_MS.most);
    }
  }

  private report(error: unknown, stream: string): void {
    this.options.log?.error({ err: error, stream }, 'following the log failed; it is tried again');
    this.options.onError?.(error, stream);
  }

  private tellWaiters(): void {
    for (const waiter of this.waiters) {
      if ([...waiter.heads].some(([stream, version]) => this.position(stream) < version)) continue;
      this.waiters.delete(waiter);
      waiter.resolve();
    }
  }
}

function likeMatcher(pattern: string): (stream: string) => boolean {
  const source = pattern
    .replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
    .replaceAll('%', '.*')
    .replaceAll('_', '.');
  const expression = new RegExp(`^${source}$`, 's');
  return (stream) => expression.test(stream);
}
