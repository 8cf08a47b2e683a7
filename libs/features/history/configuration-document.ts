import { sha256Hex } from '#platform/kernel/digest.js';
import { canonicalJson, type JsonObject } from '#platform/kernel/json.js';
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
  const sections = new Map<string, JsonObject[]>(kinds.all.filter(({ isNamed }) => isNamed).map(({ section }) => [section, []]));
  const single = new Map<string, JsonObject>();
  for (const { subject, state, schemaVersion } of subjects) {
    const kind = kinds.of(subject);
    if (kind === undefined || state === null) continue;
    const value = kind.write(kind.upcast(state, schemaVersion));
    if (kind.isNamed) sections.get(kind.section)?.push({ ...value, name: splitSubject(subject).name });
    else single.set(kind.section, value);
  }
  for (const values of sections.values()) values.sort((a, b) => (String(a.name) < String(b.name) ? -1 : 1));
  return Object.fromEntries([...single, ...sections]);
}

export type DocumentFormat = 'json' | 'yaml';

/** The document's bytes: equal documents give equal bytes. JSON is canonical (RFC 8785's member order) with a line break at its end; YAML has the same order. */
export function documentText(document: ConfigurationDocument, format: DocumentFormat): string {
  return format === 'json' ? `${canonicalJson(document)}\n` : canonicalYaml(document);
}

/** Both at once, for whoever sends the document: ordering the members of 10,000 mappings twice would take as long as all the rest. */
export function writeDocument(document: ConfigurationDocument, format: DocumentFormat): { readonly text: string; readonly digest: string } {
  const canonical = canonicalJson(document);
  return { text: format === 'json' ? `${canonical}\n` : canonicalYaml(document), digest: sha256Hex(canonical) };
}

/** What proves two configurations equal: SHA-256 of the document's canonical JSON, 64 hexadecimal digits. */
export function documentDigest(document: ConfigurationDocument): string {
  return sha256Hex(canonicalJson(document));
}
