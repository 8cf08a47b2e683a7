import { z } from 'zod';

import type { SubjectKinds } from '#features/history/subject-kind.js';
import { flagParameter } from '#platform/http/query-parameters.js';
import { DomainError, type FieldError } from '#platform/kernel/errors.js';
import type { Json, JsonObject } from '#platform/kernel/json.js';
import { pointerTo } from '#platform/kernel/pointer.js';

import type { WrittenDocument } from './configuration-import.js';

/** The query of `PUT /v1/gateways/{gateway}/config`, beside what every write takes. */
export const importParameters = {
  owner: z
    .string()
    .min(1, { error: 'must not be empty' })
    .max(256, { error: 'has at most 256 characters' })
    .refine((text) => !/[\p{Cc}\p{Cs}]/u.test(text), { error: 'must be text without control characters' })
    .optional()
    .describe('Whose document this is: its mappings get the label owner, mappings of others are left alone, and only its own are pruned.'),
  prune: flagParameter.describe('true: delete what a section of the document leaves out. With an owner: only mappings of that owner.'),
  overrideQuarantine: flagParameter.describe('true: bring back states that are in quarantine. Needs a reason.'),
  format: z.enum(['json', 'yaml']).optional().describe('What the body is; the Content-Type says it as well, and must agree.'),
};

/** How the body looks, for the description of the interface; each entry is as in a PUT of the thing itself, with its name. */
export const ConfigurationInput = z
  .strictObject({
    settings: z.record(z.string(), z.unknown()).describe('As in PUT settings. Changing them needs the scope admin.'),
    mappings: z.array(z.looseObject({ name: z.string() })),
    principals: z.array(z.looseObject({ name: z.string() })),
    routeTests: z.array(z.looseObject({ name: z.string() })),
  })
  .partial();

/** More than a gateway may have of anything; what is longer is no document but a flood. */
const MOST_ENTRIES = 100_000;

/** Reads the outline of a document; its entries are judged with the command. @throws DomainError malformed, every fault with its pointer; invalid `section_too_long`. */
export function parseDocument(body: Json, kinds: SubjectKinds): WrittenDocument {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw malformed([
      { pointer: '', code: 'body_not_object', message: 'Send a document with the sections settings, mappings, principals, routeTests.' },
    ]);
  const document = body as JsonObject;
  const known = kinds.all.map(({ section }) => section);
  const faults: FieldError[] = Object.keys(document)
    .filter((key) => !known.includes(key))
    .map((key) => ({
      pointer: pointerTo(key),
      code: 'unknown_field',
      message: `There is no section "${key.slice(0, 80)}"; a document has ${known.join(', ')}.`,
    }));
  const sections = kinds.all.flatMap((kind) => {
    const value = document[kind.section];
    if (value === undefined) return [];
    const pointer = `/${kind.section}`;
    if (!kind.isNamed) return [{ kind, values: [{ value, pointer }] }];
    if (Array.isArray(value)) return [{ kind, values: value.map((one: Json, i) => ({ value: one, pointer: `${pointer}/${i}` })) }];
    const message = `The section ${kind.section} is a list; write [] for none, or leave it out to leave them as they are.`;
    faults.push({ pointer, code: 'wrong_type', message });
    return [];
  });
  if (faults.length > 0) throw malformed(faults);
  for (const { kind, values } of sections) checkLength(kind.section, values.length);
  return { sections };
}

function checkLength(section: string, length: number): void {
  if (length <= MOST_ENTRIES) return;
  const message = `The section ${section} has ${length} entries, and a gateway has at most ${MOST_ENTRIES}.`;
  throw new DomainError('invalid', 'section_too_long', message, {
    errors: [{ pointer: `/${section}`, code: 'section_too_long', message }],
  });
}

function malformed(errors: readonly FieldError[]): DomainError {
  return new DomainError('malformed', errors[0]?.code ?? 'malformed', errors[0]?.message ?? 'The document is malformed.', { errors });
}
