import { destroyUnusedKeys, warnOfExpiries } from '#features/certificate/keep-certificates.js';
import type { Database } from '#platform/database/database.js';
import { EventStore } from '#platform/eventstore/event-store.js';
import type { Log } from '#platform/log/log.js';

const EVERY_MS = 60_000;

/** Looks after certificates for as long as this process owns the projection: warns of those that expire, and destroys keys that nothing can need any more. */
export function startCertificateRounds(options: { readonly database: Database; readonly log: Log; readonly everyMs?: number }): {
  close(): Promise<void>;
} {
  const { database, log, everyMs = EVERY_MS } = options;
  const { db } = database;
  const events = new EventStore({ database, log });
  const round = async () => {
    try {
      await warnOfExpiries({ db, events, log }, new Date());
      await destroyUnusedKeys({ db, log });
    } catch (err) {
      log.warn({ err }, 'certificates could not be looked after; the next round begins anew');
    }
  };
  let underWay: Promise<void> | undefined;
  const begin = () => {
    underWay ??= round().finally(() => {
      underWay = undefined;
    });
  };
  begin();
  const timer = setInterval(begin, everyMs);
  return {
    close: async () => {
      clearInterval(timer);
      await underWay;
      await events.close();
    },
  };
}
