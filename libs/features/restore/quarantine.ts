import type { NewEvent, View } from '#platform/eventstore/event-store.js';
import { contentHash, sha256Hex } from '#platform/kernel/digest.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { JsonObject } from '#platform/kernel/json.js';

/** A state of a subject that must not come back unless somebody says so with a reason. */
export interface Quarantine extends JsonObject {
  readonly id: string;
  readonly subject: string;
  /** `contentHash` of the state in today's shape. */
  readonly digest: string;
  readonly reason: string;
  /** The gateway's version whose state this is; null when it was named by its digest. */
  readonly gatewayVersion: number | null;
  readonly quarantinedBy: string;
}

/** A state that is about to be written. */
export interface StateDigest {
  readonly subject: string;
  readonly digest: string;
}

/** One that is under quarantine. */
export interface QuarantinedState extends StateDigest {
  readonly id: string;
  readonly reason: string;
}

const schemaVersion = 1;

/** The first 16 hexadecimal digits of the SHA-256 of subject and digest: the same state has the same quarantine. */
export function quarantineId({ subject, digest }: StateDigest): string {
  return sha256Hex(`${subject}\n${digest}`).slice(0, 16);
}

/** The subject of a quarantine in the stream `rollout/<gateway>`. */
export function quarantineSubject(id: string): string {
  return `quarantine/${id}`;
}

/** Puts a state under quarantine; nothing to do when it is. */
export const quarantineState =
  (state: Quarantine) =>
  (view: View): NewEvent[] => {
    const subject = quarantineSubject(state.id);
    return view.subject(subject).state === null ? [{ type: 'StateQuarantined', schemaVersion, subject, state }] : [];
  };

/** Lets a state come back. @throws DomainError not_found `quarantine_not_found`. */
export const liftQuarantine =
  (id: string) =>
  (view: View): NewEvent[] => {
    const subject = quarantineSubject(id);
    if (view.subject(subject).state !== null) return [{ type: 'QuarantineLifted', schemaVersion, subject, state: null }];
    throw new DomainError('not_found', 'quarantine_not_found', 'There is no quarantine of this id; GET quarantines lists them.');
  };

/**
 * What these events would bring back, each with the digest that a quarantine is of, computed when it is asked for: few subjects ever had one. Ends bring
 * nothing back.
 */
export function* digestsOf(events: readonly NewEvent[]): Iterable<StateDigest> {
  for (const { subject, state } of events) {
    if (state === null) continue;
    yield {
      subject,
      get digest() {
        return contentHash(state);
      },
    };
  }
}

/** The asked ones that are under quarantine. */
export function quarantinedAmong(quarantines: readonly Quarantine[], asked: Iterable<StateDigest>): QuarantinedState[] {
  if (quarantines.length === 0) return [];
  const subjects = new Set(quarantines.map(({ subject }) => subject));
  const byId = new Map(quarantines.map((one) => [one.id, one]));
  const found: QuarantinedState[] = [];
  for (const state of asked) {
    const quarantine = subjects.has(state.subject) ? byId.get(quarantineId(state)) : undefined;
    if (quarantine !== undefined) found.push({ ...state, id: quarantine.id, reason: quarantine.reason });
  }
  return found;
}

/**
 * Refuses what is under quarantine, or notes that it was brought back all the same.
 * @returns what the record says of it beside the rest.
 * @throws DomainError conflict `state_quarantined`.
 */
export function overriding(quarantined: readonly QuarantinedState[], override: boolean): JsonObject {
  if (quarantined.length === 0) return {};
  if (override) return { overriddenQuarantines: quarantined.map(({ id }) => id) };
  const named = quarantined.slice(0, 5).map(({ subject, reason }) => `${subject} (${reason})`);
  const message = `This would bring back what is under quarantine: ${named.join(', ')}${quarantined.length > 5 ? ', …' : ''}. Lift the quarantine, or say overrideQuarantine: true with your reason.`;
  throw new DomainError('conflict', 'state_quarantined', message, { extra: { quarantined } });
}
