import { Redis } from 'ioredis';

import { DomainError } from '#platform/kernel/errors.js';
import type { Log } from '#platform/log/log.js';
import type { QueueConnection } from './queue-connection.js';

/**
 * The queue in Redis. Adding fails at once while Redis is away (the sweep will add again); the worker's connection waits for
 * its return for as long as it takes.
 * @throws DomainError unavailable `queue_unavailable`; invalid `redis_may_evict`.
 */
export async function openRedisConnection(url: string, log: Log): Promise<QueueConnection> {
  const common = {
    connectTimeout: 5_000,
    keepAlive: 10_000,
    retryStrategy: (times: number) => Math.min(2_000, 50 * 2 ** Math.min(times, 6)),
  };
  const queue = new Redis(url, { ...common, lazyConnect: true, enableOfflineQueue: false, maxRetriesPerRequest: 1, commandTimeout: 5_000 });
  const worker = new Redis(url, { ...common, lazyConnect: true, maxRetriesPerRequest: null });
  for (const connection of [queue, worker]) connection.on('error', (err) => log.warn({ err }, 'the queue has trouble with Redis'));
  const close = async () => {
    queue.disconnect();
    worker.disconnect();
  };
  try {
    await queue.connect();
    await refuseEviction(queue);
    await worker.connect();
  } catch (error) {
    await close();
    if (error instanceof DomainError) throw error;
    throw new DomainError(
      'unavailable',
      'queue_unavailable',
      `Redis does not answer: ${error instanceof Error ? error.message : String(error)}`,
      {
        cause: error,
      },
    );
  }
  return { factory: undefined, queue: queue as never, worker: worker as never, close };
}

/** A Redis that evicts keys loses jobs and the locks that keep them apart, without a word. */
async function refuseEviction(redis: Redis): Promise<void> {
  const memory = await redis.info('memory');
  const policy = /^maxmemory_policy:(\S+)/m.exec(memory)?.[1];
  if (policy !== undefined && policy !== 'noeviction') {
    throw new DomainError('invalid', 'redis_may_evict', `Redis has maxmemory-policy ${policy}: set it to noeviction, or jobs are lost.`);
  }
}
