import type { Db } from '#platform/database/database.js';
import type { CommandRequest } from '#platform/eventstore/command-request.js';
import type { EventStore, Outcome } from '#platform/eventstore/event-store.js';
import { readSubject } from '#platform/eventstore/read-log.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { SecretOwner, SecretRef, Vault } from '#platform/vault/vault.js';

import { type CertificateState, certificateSubject, rotateCertificate } from './certificate.js';
import { type CheckedKeyPair, checkCertificate, type KeyPairInput } from './check-certificate.js';
import { keepKeyPair } from './read-key-pair.js';

/** A pair that is to be a certificate, and where it comes from. */
export type NewKeyPair = KeyPairInput & { readonly source: CertificateState['source'] };

interface Stores {
  readonly events: EventStore;
  readonly vault: Vault;
  readonly db: Db;
}

/** In place of the secret in a dry run, which keeps none. */
const NOT_KEPT: SecretRef = { id: '00000000-0000-0000-0000-000000000000', version: 0 };

/**
 * Sets a certificate with its key, or exchanges the one of its name, whoever asks: the secret first, then the event.
 * @throws DomainError as `checkCertificate`, `Vault.put` and `EventStore.handle`; not_found `gateway_not_found`.
 */
export async function rotateKeyPair(
  { events, vault, db }: Stores,
  owner: SecretOwner,
  input: NewKeyPair,
  request: CommandRequest,
): Promise<{ readonly outcome: Outcome; readonly checked: CheckedKeyPair }> {
  const checked = await checkCertificate(input, new Date());
  const { known, lost } = await present(db, vault, owner, checked);
  const made = known === undefined ? await keep(vault, owner, checked, request.dryRun) : undefined;
  const secret = known ?? made ?? NOT_KEPT;
  const { gateway, name } = owner;
  const state: CertificateState = { name, ...checked.facts, source: input.source, secret: { ...secret } };
  const { context, ...rest } = request;
  const command = {
    stream: `gateway/${gateway}`,
    subjects: ['gateway', certificateSubject(name)],
    context: { ...context, action: 'PutCertificate' },
  };
  try {
    const outcome = await events.handle({ ...rest, ...command }, rotateCertificate(state, lost));
    if (made !== undefined && !outcome.events.some(({ state: after }) => secretOf(after)?.id === made.id)) await vault.destroy([made.id]);
    return { outcome, checked };
  } catch (error) {
    // What was refused is named nowhere; what may have been recorded stays, and the sweep finds out.
    if (made !== undefined && error instanceof DomainError && error.kind !== 'unavailable') await vault.destroy([made.id]);
    throw error;
  }
}

/** The secret of the same chain and key when they are here already, or the one that should be theirs and cannot be opened any more. */
async function present(
  db: Db,
  vault: Vault,
  owner: SecretOwner,
  { facts }: CheckedKeyPair,
): Promise<{ readonly known?: SecretRef; readonly lost?: string }> {
  const { state } = await readSubject(db, `gateway/${owner.gateway}`, certificateSubject(owner.name));
  if (state === null || state.chainFingerprint !== facts.chainFingerprint) return {};
  const { secret } = state as CertificateState;
  try {
    await vault.open(owner, secret);
    return { known: secret };
  } catch (error) {
    if (error instanceof DomainError && ['secret_missing', 'secret_broken', 'key_missing'].includes(error.code)) return { lost: secret.id };
    throw error;
  }
}

async function keep(vault: Vault, owner: SecretOwner, checked: CheckedKeyPair, dryRun: boolean): Promise<SecretRef | undefined> {
  if (!dryRun) return keepKeyPair(vault, owner, checked);
  vault.requireKeys(); // a plan that could not be carried out is none
  return undefined;
}

function secretOf(state: object | null): SecretRef | undefined {
  return (state as CertificateState | null)?.secret;
}
