import { createHash } from 'node:crypto';

import { sha256Hex } from '#platform/kernel/digest.js';
import { canonicalJson, type Json, type JsonObject } from '#platform/kernel/json.js';
import { runToEnd, sorting } from '#platform/kernel/turns.js';
import { canonicalYaml } from '#platform/kernel/yaml.js';

import { type SubjectKinds, splitSubject } from './subject-kind.js';

/** A subject with its state; what else a record says of it does not matter here. */
export interface StatedSubject {
  readonly subject: string;
  readonly state: JsonObject | null;
  readonly schemaVersion: number;
}

/**
 * A gateway's configuration as one document: a member for each kind, lists sorted by name. It names neither gateway nor version, so that equal
 * configurations are equal documents, wherever and whenever they were.
 */
export type ConfigurationDocument = JsonObject;

/** The document of these subjects, each read in today's shape; those of no kind of the configuration are left out. */
export function toDocument(kinds: SubjectKinds, subjects: Iterable<StatedSubject>): ConfigurationDocument {
  return runToEnd(documenting(kinds, subjects));
}

/** So many are looked at, or written, before whoever runs this may let others have their turn. */
const PACE = 100;

/** As `toDocument`; yields now and then, for others. */
export function* documenting(kinds: SubjectKinds, subjects: Iterable<StatedSubject>): Generator<undefined, ConfigurationDocument> {
  let seen = 0;
  const sections = new Map<string, JsonObject[]>(kinds.all.filter(({ isNamed }) => isNamed).map(({ section }) => [section, []]));
  const single = new Map<string, JsonObject>();
  for (const { subject, state, schemaVersion } of subjects) {
    if (++seen % PACE === 0) yield undefined;
    const kind = kinds.of(subject);
    if (kind === undefined || state === null) continue;
    const value = kind.write(kind.upcast(state, schemaVersion));
    if (kind.isNamed) sections.get(kind.section)?.push({ ...value, name: splitSubject(subject).name });
    else single.set(kind.section, value);
  }
  const sorted: [string, JsonObject[]][] = [];
  for (const [section, values] of sections) sorted.push([section, yield* sorting(values, byName)]);
  return Object.fromEntries([...single, ...sorted]);
}

function byName(a: JsonObject, b: JsonObject): number {
  return String(a.name) < String(b.name) ? -1 : 1;
}

export type DocumentFormat = 'json' | 'yaml';

/** The document's bytes: equal documents give equal bytes. JSON is canonical (RFC 8785's member order) with a line break at its end; YAML has the same order. */
export function documentText(document: ConfigurationDocument, format: DocumentFormat): string {
  return format === 'json' ? `${canonicalJson(document)}\n` : canonicalYaml(document);
}

/**
 * Both at once, for whoever sends the document: ordering the members of 10,000 mappings twice would take as long as all the rest. Yields now and then.
 */
export function* writingDocument(
  document: ConfigurationDocument,
  format: DocumentFormat,
): Generator<undefined, { readonly text: string; readonly digest: string }> {
  const hash = createHash('sha256');
  const pieces: string[] = [];
  const canonical = (text: string) => {
    hash.update(text);
    if (format === 'json') pieces.push(text);
  };
  for (const [i, key] of Object.keys(document).sort().entries()) {
    const value = document[key] ?? null;
    canonical(`${i === 0 ? '{' : ','}${JSON.stringify(key)}:`);
    if (!Array.isArray(value) || value.length === 0) {
      canonical(canonicalJson(value));
      if (format === 'yaml') pieces.push(canonicalYaml({ [key]: value }));
      continue;
    }
    if (format === 'yaml') pieces.push(`${key}:\n`); // the section of a kind: a plain word
    for (let from = 0; from < value.length; from += PACE) {
      const items: readonly Json[] = value.slice(from, from + PACE);
      canonical(`${from === 0 ? '[' : ','}${canonicalJson(items).slice(1, -1)}`);
      if (format === 'yaml') pieces.push(canonicalYaml(items).replace(/^(?=.)/gm, '  '));
      yield undefined;
    }
    canonical(']');
  }
  canonical(Object.keys(document).length === 0 ? '{}' : '}');
  if (format === 'json') pieces.push('\n');
  return { text: pieces.length === 0 ? canonicalYaml({}) : pieces.join(''), digest: hash.digest('hex') };
}

/** As `documentDigest`; yields now and then. */
export function* digestingDocument(kinds: SubjectKinds, subjects: Iterable<StatedSubject>): Generator<undefined, string> {
  return (yield* writingDocument(yield* documenting(kinds, subjects), 'json')).digest;
}

/** What proves two configurations equal: SHA-256 of the document's canonical JSON, 64 hexadecimal digits. */
export function documentDigest(document: ConfigurationDocument): string {
  return sha256Hex(canonicalJson(document));
}
