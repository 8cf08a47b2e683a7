import type { NewEvent, SubjectRecord, View } from '#platform/eventstore/event-store.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { JsonObject } from '#platform/kernel/json.js';

import { checkMapping, type MappingInput } from './mapping-input.js';
import type { MappingState } from './mapping-state.js';

/** A mapping as the validation makes it; everything but the service and its `/name/` prefix can be said. */
export function aMapping(name: string, fields: Partial<Parameters<typeof checkMapping>[1]> = {}): MappingState {
  const match = fields.path === undefined ? { prefix: `/${name}/` } : {};
  return { ...inputOf(name, { ...match, ...fields }), timeoutMs: fields.timeoutMs ?? 5000 };
}

/** The same as an input: its timeout is still open. */
export function inputOf(name: string, fields: Partial<Parameters<typeof checkMapping>[1]> = {}): MappingInput {
  return checkMapping(name, { service: 'usersvc', ...fields });
}

/** A stream whose subjects have these states, as a decision sees it. */
function viewOf(states: Readonly<Record<string, object>>): View {
  const subject = (name: string): SubjectRecord => {
    const state = states[name];
    if (state === undefined) return { subject: name, version: 0, streamVersion: 0, schemaVersion: 0, state: null, recordedAt: null };
    const json = JSON.parse(JSON.stringify(state)) as JsonObject;
    return { subject: name, version: 1, streamVersion: 1, schemaVersion: 1, state: json, recordedAt: null };
  };
  return { streamVersion: Object.keys(states).length, subject };
}

/** given(states).when(decision).then(events) or .thenRefused(code). */
export function given(states: Readonly<Record<string, object>>) {
  return {
    when: (decide: (view: View) => readonly NewEvent[]) => ({
      events: () => decide(viewOf(states)),
      refusal: (): { kind: string; code: string; pointers: string[] } | undefined => {
        try {
          decide(viewOf(states));
          return undefined;
        } catch (error) {
          if (!(error instanceof DomainError)) throw error;
          return { kind: error.kind, code: error.code, pointers: error.errors.map(({ pointer }) => pointer) };
        }
      },
    }),
  };
}
