import type { SubjectKind } from '#features/history/subject-kind.js';

import { mappingTransition, patchedMapping, wholeMapping } from './mapping.js';
import { parseMappingPatch, parseMappingReplace } from './mapping-input.js';
import { fromJson, toJson } from './mapping-state.js';
import { takenMatch } from './match-claims.js';

/** Mappings, for what works on every kind of subject. `ownPorts`: see MappingContext. */
export function mappingKind(ownPorts: ReadonlySet<number>): SubjectKind {
  const context = { ownPorts };
  return {
    name: 'mapping',
    isNamed: true,
    section: 'mappings',
    upcast: (state) => state, // there has been one shape so far
    transition: mappingTransition,
    read: (name, value, { settings }) => toJson(wholeMapping(parseMappingReplace(name, value), settings, context)),
    patch: (name, before, value, { settings }) =>
      toJson(patchedMapping(fromJson(name, before), parseMappingPatch(name, value), settings, context)),
    write: (state) => state,
    explainClaim: takenMatch,
  };
}
