import { Worker } from 'node:worker_threads';

import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import { DomainError } from '#platform/kernel/errors.js';

import { type GatewayStates, type RenderDifference, renderDifference } from './render-difference.js';

/** What changes in Envoy's configuration between two states of a gateway; null is the state before its first version. */
export class ReadRenderDifference extends Query<RenderDifference> {
  constructor(
    readonly gateway: string,
    readonly before: GatewayStates | null,
    readonly after: GatewayStates | null,
  ) {
    super();
  }
}

/**
 * Two renders of 20,000 mappings on 20,000 hosts with 100 routes for any host take about 3 s, and 40 MB. Above, the answer would be too long to wait
 * for and too long to read.
 */
const MOST_SUBJECTS = 20_000;
/** Less than the deadline of a read, so that the caller hears of the size and not of the database. */
const DEADLINE_MS = 4_000;
/** Each takes a processor: what else the api does must have its own. */
const MOST_AT_ONCE = 2;

/** The built thread. From the sources, where tests run, there is none to start: they compare where they are. */
const thread = import.meta.url.endsWith('.ts') ? undefined : new URL('./render-thread.js', import.meta.url);

@QueryHandler(ReadRenderDifference)
export class ReadRenderDifferenceHandler implements IQueryHandler<ReadRenderDifference> {
  #running = 0;

  /**
   * In a thread of its own, always: even 1,000 mappings on 100 hosts take half a second, in which the api would answer nobody.
   * @throws DomainError invalid `render_too_large`; unavailable `render_busy`.
   */
  async execute({ gateway, before, after }: ReadRenderDifference): Promise<RenderDifference> {
    if (Math.max(before?.subjects.length ?? 0, after?.subjects.length ?? 0) > MOST_SUBJECTS) throw tooLarge();
    if (this.#running >= MOST_AT_ONCE) {
      throw new DomainError('unavailable', 'render_busy', 'Other versions are being rendered at the moment; try again in a second.');
    }
    this.#running += 1;
    try {
      return thread === undefined ? renderDifference(gateway, before, after) : await inThread(thread, { gateway, before, after });
    } finally {
      this.#running -= 1;
    }
  }
}

function inThread(url: URL, workerData: object): Promise<RenderDifference> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(url, { workerData });
    const timer = setTimeout(() => {
      reject(tooLarge());
      void worker.terminate();
    }, DEADLINE_MS);
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', (code) => {
      clearTimeout(timer);
      reject(new Error(`the thread that renders ended with ${code} and no answer`)); // heard by nobody when there was one
    });
  });
}

function tooLarge(): DomainError {
  const message =
    `These versions are too large to be rendered for a comparison (at most ${MOST_SUBJECTS} mappings, and ${DEADLINE_MS / 1000} s). ` +
    'Leave out `rendered` to compare the mappings and settings themselves.';
  return new DomainError('invalid', 'render_too_large', message, {
    errors: [{ pointer: '/rendered', code: 'render_too_large', message }],
  });
}
