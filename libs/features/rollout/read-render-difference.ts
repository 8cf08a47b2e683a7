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
 * Comparing two renders of 10,000 mappings takes a processor 0.2 s for one host and 1.5 s for 9,000 hosts with copies of 100 routes for any host; of
 * 20,000, 0.5 and 3.5 s. Above, it would be longer than a read may take.
 */
const MOST_MAPPINGS = 20_000;
/** Less than the deadline of a read, so that the caller hears of the size and not of the database. */
const DEADLINE_MS = 4_000;
/** Each takes a processor: what else the api does must have its own. */
const MOST_AT_ONCE = 2;

/** The built thread. From the sources, where tests run, there is none to start: they compare where they are. */
const thread = import.meta.url.endsWith('.ts') ? undefined : new URL('./render-thread.js', import.meta.url);

@QueryHandler(ReadRenderDifference)
export class ReadRenderDifferenceHandler implements IQueryHandler<ReadRenderDifference> {
  /** How long a comparison may take, in ms. A test has less patience. */
  deadlineMs = DEADLINE_MS;
  #running = 0;

  /**
   * In a thread of its own, always: 1,000 mappings on 100 hosts take half a second, in which the api would answer nobody. (Starting the thread takes
   * a tenth.)
   * @throws DomainError invalid `render_too_large`; unavailable `render_busy`.
   */
  async execute({ gateway, before, after }: ReadRenderDifference): Promise<RenderDifference> {
    if (Math.max(mappingsOf(before), mappingsOf(after)) > MOST_MAPPINGS) throw tooLarge();
    if (this.#running >= MOST_AT_ONCE) {
      throw new DomainError('unavailable', 'render_busy', 'Other versions are being rendered at the moment; try again in a second.');
    }
    this.#running += 1;
    try {
      return thread === undefined
        ? renderDifference(gateway, before, after)
        : await inThread(thread, { gateway, before, after }, this.deadlineMs);
    } finally {
      this.#running -= 1;
    }
  }
}

function mappingsOf(states: GatewayStates | null): number {
  return states?.subjects.filter(([subject]) => subject.startsWith('mapping/')).length ?? 0;
}

function inThread(url: URL, workerData: object, deadlineMs: number): Promise<RenderDifference> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(url, { workerData });
    const timer = setTimeout(() => {
      reject(tooLarge());
      void worker.terminate();
    }, deadlineMs);
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
    `These versions are too large to be rendered for a comparison (at most ${MOST_MAPPINGS} mappings, and ${DEADLINE_MS / 1000} s). ` +
    'Leave out `rendered` to compare the mappings and settings themselves.';
  return new DomainError('invalid', 'render_too_large', message, {
    errors: [{ pointer: '/rendered', code: 'render_too_large', message }],
  });
}
