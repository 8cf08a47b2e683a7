import { type SubjectKinds, splitSubject } from '#features/history/subject-kind.js';
import { DomainError } from '#platform/kernel/errors.js';
import { canonicalJson, type JsonObject } from '#platform/kernel/json.js';

import type { WrittenChange } from './changeset.js';
import { checkSize } from './value-size.js';
import { PACE } from './working-set.js';

/**
 * The states that the puts of a set ask for, read before the decision: reading is most of its work and depends on nothing but the settings, and the
 * decision itself cannot let others have their turn. Settings that are others by then are no fault: the decision reads again.
 */
export class PreparedValues {
  readonly #settings: string;
  readonly #states = new Map<WrittenChange, JsonObject | DomainError>();
  #fitting: JsonObject | undefined;

  constructor(settings: JsonObject) {
    this.#settings = canonicalJson(settings);
  }

  /** Reads the values, and yields now and then, for others. */
  *prepare(changes: readonly WrittenChange[], kinds: SubjectKinds, settings: JsonObject): Generator<undefined, void> {
    for (const [i, change] of changes.entries()) {
      if (i % PACE === PACE - 1) yield undefined;
      const kind = change instanceof DomainError || change.op !== 'put' ? undefined : kinds.of(change.subject);
      if (change instanceof DomainError || kind === undefined || kind.secretOf !== undefined || change.value === undefined) continue;
      try {
        checkSize(kind, change.value);
        this.#states.set(change, kind.read(splitSubject(change.subject).name, change.value, { settings }));
      } catch (error) {
        if (!(error instanceof DomainError)) throw error;
        this.#states.set(change, error);
      }
    }
  }

  /** What `read` of this change's value answered under equal settings; undefined when that is not known. @throws DomainError what it threw. */
  find(change: WrittenChange, settings: JsonObject): JsonObject | undefined {
    if (settings !== this.#fitting) {
      if (canonicalJson(settings) !== this.#settings) return undefined;
      this.#fitting = settings; // the next change most likely brings the very same object
    }
    const state = this.#states.get(change);
    if (state instanceof DomainError) throw state;
    return state;
  }
}
