import type { NewEvent, SubjectRecord, View } from '#platform/eventstore/event-store.js';
import type { JsonObject } from '#platform/kernel/json.js';

/** The stream `rollout/<gateway>` of a spec: what decisions make of it, with a clock that the spec moves. */
export class RolloutLog {
  readonly #subjects = new Map<string, SubjectRecord>();
  readonly types: string[] = [];
  version = 0;

  /** Records what a decision makes of the log. @returns the types of its events. @throws what it throws. */
  take(decide: (view: View) => readonly NewEvent[], atMs: number): string[] {
    const events = decide({ streamVersion: this.version, subject: (name) => this.#record(name) });
    if (events.length === 0) return [];
    this.version += 1;
    for (const { subject, state, schemaVersion } of events) {
      const version = this.#record(subject).version + 1;
      const copy = JSON.parse(JSON.stringify(state)) as JsonObject | null;
      const recordedAt = new Date(atMs).toISOString();
      this.#subjects.set(subject, { subject, version, streamVersion: this.version, schemaVersion, state: copy, recordedAt });
    }
    const types = events.map(({ type }) => type);
    this.types.push(...types);
    return types;
  }

  subjects(): SubjectRecord[] {
    return [...this.#subjects.values()];
  }

  #record(subject: string): SubjectRecord {
    const none = { subject, version: 0, streamVersion: 0, schemaVersion: 0, state: null, recordedAt: null };
    return this.#subjects.get(subject) ?? none;
  }
}
