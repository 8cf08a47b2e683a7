import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import { CreateGateway, CreateGatewayHandler } from '#features/gateway/create-gateway.js';
import type { EventStore } from '#platform/eventstore/event-store.js';
import { isDatabaseUnavailable } from '#platform/http/database-fault.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Log } from '#platform/log/log.js';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;

/**
 * Makes sure that the gateway `default` exists. Waits for a database that is down or not migrated yet, with a growing pause, until the
 * deadline (ms); returns early when `ending` is aborted.
 * @throws Error with the last reason, after the deadline.
 */
export async function ensureDefaultGateway(options: {
  readonly events: EventStore;
  readonly log: Log;
  readonly allowLoopbackUpstreams: boolean;
  readonly deadlineMs: number;
  readonly ending: AbortSignal;
}): Promise<void> {
  const { events, log, ending } = options;
  const deadline = performance.now() + options.deadlineMs;
  for (let pauseMs = FIRST_PAUSE_MS; !ending.aborted; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    try {
      await createIfAbsent(events, options.allowLoopbackUpstreams);
      return;
    } catch (error) {
      if (!isTemporary(error)) throw error;
      if (performance.now() > deadline) throw new Error('the database did not become usable in time', { cause: error });
      log.warn({ err: error }, 'waiting for the database');
      await sleep(pauseMs, undefined, { signal: ending }).catch(() => undefined);
    }
  }
}

async function createIfAbsent(events: EventStore, allowLoopbackUpstreams: boolean): Promise<void> {
  const context = { commandId: randomUUID(), actor: 'system', reason: 'the gateway that exists from the start' };
  try {
    await new CreateGatewayHandler(events).execute(
      new CreateGateway(
        'default',
        { allowLoopbackUpstreams },
        { context, precondition: { subjects: { gateway: 'absent' } }, dryRun: false },
      ),
    );
  } catch (error) {
    const exists = error instanceof DomainError && (error.code === 'gateway_exists' || error.code === 'version_mismatch');
    if (!exists) throw error;
  }
}

/** Down, or up and not migrated yet (undefined table, schema or function). */
function isTemporary(error: unknown): boolean {
  if (error instanceof DomainError) return error.kind === 'unavailable' || (error.kind === 'conflict' && error.code === 'contended');
  const { code } = error as { code?: unknown };
  return (
    isDatabaseUnavailable(error) ||
    code === '42P01' ||
    code === '3F000' ||
    code === '42883' ||
    code === '3D000' ||
    code === '28000' ||
    code === '28P01'
  );
}
