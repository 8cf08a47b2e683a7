import { createHash } from 'node:crypto';

import type { Db } from '#platform/database/database.js';
import type { EventStore } from '#platform/eventstore/event-store.js';
import type { Log } from '#platform/log/log.js';
import { destroySecrets } from '#platform/vault/vault.js';

import { listAllCertificates, listUnusedSecrets } from './certificate.table.js';
import { thresholdOf } from './expiry.js';
import { certificatesStream, expirySubject, warnOfExpiry } from './expiry-warning.js';

/** A secret that no event names may belong to a command that is under way. */
const ORPHAN_MS = 3_600_000;
/** As long as a version may at most wait to be confirmed: until then it may go back by itself. */
const SUPERSEDED_MS = 24 * 3_600_000;

interface World {
  readonly db: Db;
  readonly events: EventStore;
  readonly log: Log;
}

/**
 * Records a warning for each certificate that has reached a threshold it was not warned about at. The record decides, so any process may do this, any
 * number of them, and as often as they like. @returns how many were recorded
 */
export async function warnOfExpiries({ db, events, log }: World, now: Date): Promise<number> {
  let recorded = 0;
  for (const { gateway, state } of await listAllCertificates(db)) {
    const days = thresholdOf(state, now);
    if (days === undefined) continue;
    const { name: certificate, fingerprint, notAfter } = state;
    const context = { commandId: warningId(gateway, certificate, fingerprint, days), action: 'WarnOfExpiry', actor: 'system' };
    const outcome = await events.handle(
      { stream: certificatesStream(gateway), subjects: [expirySubject(certificate)], context },
      warnOfExpiry({ certificate, fingerprint, notAfter, days }),
    );
    if (outcome.unchanged) continue;
    recorded += 1;
    log.warn({ gateway, certificate, notAfter, days }, days === 0 ? 'a certificate has expired' : 'a certificate expires soon');
  }
  return recorded;
}

/** The same warning has the same id everywhere: a UUID of what it is about. */
function warningId(...about: readonly (string | number)[]): string {
  const hex = createHash('sha256')
    .update(JSON.stringify(['expiry', ...about]))
    .digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** Destroys the keys that nothing can need any more, see `listUnusedSecrets`. @returns how many */
export async function destroyUnusedKeys(
  { db, log }: Pick<World, 'db' | 'log'>,
  after = { orphanMs: ORPHAN_MS, supersededMs: SUPERSEDED_MS },
): Promise<number> {
  const unused = await listUnusedSecrets(db, after);
  for (const { id, gateway, name, why } of unused) log.info({ gateway, certificate: name, secret: id, why }, 'a key is destroyed');
  await destroySecrets(
    db,
    unused.map(({ id }) => id),
  );
  return unused.length;
}
