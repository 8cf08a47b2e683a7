import type { SubjectKind } from '#features/history/subject-kind.js';

import { routeTestTransition } from './route-test.js';
import { parseRouteTest, patchRouteTest } from './route-test-input.js';

/** Route tests, for what works on every kind of subject. */
export const routeTestKind: SubjectKind = {
  name: 'route-test',
  isNamed: true,
  section: 'routeTests',
  upcast: (state) => state, // there has been one shape so far
  transition: routeTestTransition,
  read: parseRouteTest,
  patch: patchRouteTest,
  write: (state) => state,
};
