import type { JsonObject } from '#platform/kernel/json.js';

import type { SubjectKind } from './subject-kind.js';

/** An invented kind that has had two shapes: v1 had a timeout in seconds, v2 has milliseconds and a colour. */
export const lampKind: SubjectKind = {
  name: 'lamp',
  isNamed: true,
  section: 'lamps',
  upcast: (state, schemaVersion) => {
    if (schemaVersion >= 2) return state;
    const { timeoutS, ...rest } = state;
    return { ...rest, timeoutMs: Number(timeoutS) * 1000, colour: 'white' };
  },
  transition: (subject, _before, after) => ({ type: 'LampSet', schemaVersion: 2, subject, state: after }),
  read: (_name, value) => value as JsonObject,
  patch: (_name, before, value) => ({ ...before, ...(value as JsonObject) }),
  write: (state) => state,
};

/** The same lamp, as it was recorded then and as it is recorded now. */
export const oldLamp = { place: 'hall', timeoutS: 5 };
export const youngLamp = { place: 'hall', timeoutMs: 5000, colour: 'white' };
