import { Worker } from 'node:worker_threads';

import type { LoadResult, Outcome } from '../../test/load/load-client.js';
import { quantile } from '../append/statistics.js';
import type { ThreadOrder } from './load-thread.js';

export interface ClientTotals {
  readonly sent: number;
  readonly outcomes: Readonly<Record<Outcome, number>>;
  /** The first of those that were lost, in the order of time. */
  readonly lost: LoadResult['lost'];
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** How late the clients themselves sent, at worst. */
  readonly worstLagMs: number;
}

const LOST_SHOWN = 1_000;

/** Threads of raw-socket clients at a constant rate. */
export class Clients {
  readonly #threads: readonly Worker[];

  constructor(order: ThreadOrder, threads: number) {
    const url = new URL('load-thread.ts', import.meta.url);
    const workerData: ThreadOrder = { ...order, rate: order.rate / threads };
    this.#threads = Array.from({ length: threads }, () => new Worker(url, { workerData }));
  }

  /** Requests answered so far, in whichever way. */
  async answered(): Promise<number> {
    const counts = await Promise.all(this.#threads.map((thread) => ask<{ answered: number }>(thread, 'counts')));
    return counts.reduce((sum, { answered }) => sum + answered, 0);
  }

  async stop(): Promise<ClientTotals> {
    const answers = await Promise.all(this.#threads.map((thread) => ask<{ results: LoadResult[] }>(thread, 'stop')));
    const results = answers.flatMap((answer) => answer.results);
    const outcomes: Record<string, number> = {};
    for (const result of results)
      for (const [outcome, count] of Object.entries(result.outcomes)) outcomes[outcome] = (outcomes[outcome] ?? 0) + count;
    const latencies = results.flatMap((result) => result.latencies);
    return {
      sent: results.reduce((sum, { sent }) => sum + sent, 0),
      outcomes: outcomes as Record<Outcome, number>,
      lost: results
        .flatMap(({ lost }) => lost)
        .sort((a, b) => a.atMs - b.atMs)
        .slice(0, LOST_SHOWN),
      ...{ p50Ms: quantile(latencies, 0.5), p99Ms: quantile(latencies, 0.99), maxMs: quantile(latencies, 1) },
      worstLagMs: results.reduce((worst, result) => Math.max(worst, result.worstLagMs), 0),
    };
  }
}

function ask<T>(thread: Worker, question: 'stop' | 'counts'): Promise<T> {
  return new Promise((resolve, reject) => {
    thread.once('message', resolve);
    thread.once('error', reject);
    thread.postMessage(question);
  });
}
