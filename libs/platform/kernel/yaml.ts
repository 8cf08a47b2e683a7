import type { Json } from './json.js';

/**
 * A JSON value as YAML (1.2, block style): keys sorted by UTF-16 code unit, so that equal values give equal bytes. Text stands plain where no reader of
 * YAML, old or new, can take it for anything else, and in JSON's quotes everywhere else. `undefined` members are left out.
 *
 * Written here because a configuration of 10,000 mappings keeps the `yaml` package busy for a second, in which nobody else is served; this takes 20 ms.
 * Reading is that package's.
 * @throws RangeError for NaN and infinities, which JSON cannot say.
 */
export function canonicalYaml(value: Json): string {
  const lines: string[] = [];
  if (isScalar(value)) lines.push(scalar(value));
  else writeBlock(value, '', '', lines);
  return `${lines.join('\n')}\n`;
}

/** The lines of a list or an object that is not empty. `first` stands before the first of them, `indent` before the others. */
function writeBlock(value: Json, first: string, indent: string, lines: string[]): void {
  let before = first;
  const write = (head: string, inner: Json, deeper: string) => {
    if (isScalar(inner)) lines.push(`${before}${head} ${scalar(inner)}`);
    else if (head === '-') writeBlock(inner, `${before}- `, `${indent}  `, lines);
    else {
      lines.push(`${before}${head}`);
      writeBlock(inner, deeper, deeper, lines);
    }
    before = indent;
  };
  if (Array.isArray(value)) {
    for (const item of value) write('-', item, `${indent}  `);
    return;
  }
  const members = Object.entries(value as { readonly [key: string]: Json | undefined });
  members.sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [key, member] of members) if (member !== undefined) write(`${text(key)}:`, member, `${indent}  `);
}

/** What fits on one line: everything but lists and objects with something in them. */
function isScalar(value: Json): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return Array.isArray(value) ? value.length === 0 : Object.values(value).every((member) => member === undefined);
}

function scalar(value: Json): string {
  if (typeof value === 'string') return text(value);
  if (typeof value === 'number' && !Number.isFinite(value)) throw new RangeError(`not a JSON number: ${value}`);
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  return Array.isArray(value) ? '[]' : '{}';
}

/** Begins with a letter or a slash and goes on with what means nothing to YAML. */
const plain = /^[A-Za-z/][A-Za-z0-9_/.-]*$/;
/** Words that YAML 1.1, or some reader of it, takes for something else; E0 for a number. */
const words = /^(?:true|false|null|yes|no|on|off|y|n|e[\d_.-]*)$/i;
/** What JSON leaves as it is and YAML does not: DEL and the C1 controls, its line breaks, the mark of byte order, and what is no character. */
const unprintable = /[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g;

function text(value: string): string {
  if (plain.test(value) && !words.test(value)) return value;
  return JSON.stringify(value).replaceAll(unprintable, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
