import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

import { connectionOptions } from '#platform/database/database.js';
import type { Log } from '#platform/log/log.js';

/** Any number of our own; the migrator has another. */
const LOCK_KEY = 7_232_113_591;
const ASK_EVERY_MS = 500;
const PROBE_EVERY_MS = 5_000;

/**
 * One projector owns the projected tables at a time; the others stand by. The right is an advisory lock of a session: the server frees it when the owner's
 * connection ends, however the owner ended. It spares the others the work and is not what correctness rests on: an owner that was stopped and wakes late
 * finds the cursor moved (projectRoutes and projectAudit read it under a lock in the transaction that writes).
 */
export interface Ownership {
  /** Resolves when the right is lost. */
  readonly lost: Promise<void>;
  release(): Promise<void>;
}

/** Waits until this process is the owner; null when `signal` says to give up. Failures of the database are logged and waited out. */
export async function becomeOwner(url: string, log: Log, signal: AbortSignal): Promise<Ownership | null> {
  let waiting = false;
  while (!signal.aborted) {
    const ownership = await attempt(url).catch((err: unknown) => {
      log.warn({ err }, 'the database does not answer; ownership is asked for again');
      return null;
    });
    if (ownership !== null) return ownership;
    if (!waiting) log.info('another projector owns the projected tables, or the database is away; standing by');
    waiting = true;
    await sleep(ASK_EVERY_MS, undefined, { signal }).catch(() => undefined); // aborted: the loop ends
  }
  return null;
}

async function attempt(url: string): Promise<Ownership | null> {
  const client = new pg.Client({ ...connectionOptions(url, 'chancery-projector-owner'), query_timeout: 10_000 });
  let onLost: () => void = () => undefined;
  const lost = new Promise<void>((resolve) => {
    onLost = resolve;
  });
  client.on('error', () => onLost());
  client.on('end', () => onLost());
  try {
    await client.connect();
    const { rows } = await client.query<{ got: boolean }>('SELECT pg_try_advisory_lock($1) AS got', [LOCK_KEY]);
    if (rows[0]?.got !== true) {
      await client.end();
      return null;
    }
  } catch (error) {
    await client.end().catch(() => undefined); // it failed already, and that is what is reported
    throw error;
  }
  // A connection cut without a word looks alive until it is used.
  const probe = setInterval(() => client.query('SELECT 1').catch(() => onLost()), PROBE_EVERY_MS);
  probe.unref();
  const release = async () => {
    clearInterval(probe);
    await client.end().catch(() => undefined); // it may be what was lost
  };
  return { lost, release };
}
