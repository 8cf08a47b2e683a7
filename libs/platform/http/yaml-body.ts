import { LineCounter, parseDocument } from 'yaml';

import { DomainError } from '#platform/kernel/errors.js';
import type { Json } from '#platform/kernel/json.js';
import { pointerTo } from '#platform/kernel/pointer.js';

const MOST_DEEP = 20;
/** How often an anchor may be repeated, all in all: ten lines of aliases can otherwise stand for gigabytes. */
const MOST_ALIASES = 100;

/**
 * Reads YAML 1.2 text (its core schema) as the JSON that it stands for, as strictly as `parseStrictJson`: one document, no key twice, no tags of
 * anybody's, no number that JSON cannot say. Measured: 0.5 to 0.7 s for a megabyte of mappings, during which the process does nothing else; hence the
 * limit of YAML bodies.
 * @throws DomainError malformed: `yaml_invalid`, `yaml_too_deep`, `forbidden_key`, with a pointer, or with line and column where it cannot be read.
 */
export function readYaml(text: string): Json {
  const lines = new LineCounter();
  const options = {
    schema: 'core',
    resolveKnownTags: false,
    uniqueKeys: true,
    stringKeys: true,
    prettyErrors: false,
    logLevel: 'error',
    lineCounter: lines,
  } as const;
  const document = parseDocument(text, options);
  const [fault] = [...document.errors, ...document.warnings];
  if (fault !== undefined) {
    const { line, col } = lines.linePos(fault.pos[0]);
    throw refuse('yaml_invalid', `The body is not YAML as we read it (line ${line}, column ${col}): ${fault.message.slice(0, 300)}`, []);
  }
  return checked(toValue(document), []);
}

function toValue(document: ReturnType<typeof parseDocument>): unknown {
  try {
    return document.toJS({ maxAliasCount: MOST_ALIASES });
  } catch (error) {
    throw refuse('yaml_invalid', `The body's aliases cannot be followed: ${(error as Error).message.slice(0, 300)}`, []);
  }
}

/** The value itself, when JSON can say it. */
function checked(value: unknown, path: readonly (string | number)[]): Json {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value;
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw refuse('yaml_invalid', 'This number cannot be used: it is too large, or none.', path);
    return value;
  }
  if (typeof value !== 'object') throw refuse('yaml_invalid', 'This is no value that JSON could say.', path);
  if (path.length >= MOST_DEEP) throw refuse('yaml_too_deep', `The body is nested more than ${MOST_DEEP} levels deep.`, path);
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) checked(value[i], [...path, i]);
    return value as Json[];
  }
  for (const [key, member] of Object.entries(value)) {
    if (key === '__proto__') throw refuse('forbidden_key', 'The key "__proto__" is not accepted.', [...path, key]);
    checked(member, [...path, key]);
  }
  return value as Json;
}

function refuse(code: string, message: string, path: readonly (string | number)[]): DomainError {
  return new DomainError('malformed', code, message, { errors: [{ pointer: pointerTo(...path), code, message }] });
}
