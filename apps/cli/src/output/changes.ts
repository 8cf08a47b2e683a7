import { type Difference, jsonDiff } from '#platform/http/json-diff.js';
import type { Json } from '#platform/kernel/json.js';

import type { Colours } from './colours.js';
import { printable } from './printable.js';

/** One changed subject, as every answer that holds changes has it. */
export interface Change {
  readonly subject: string;
  readonly before?: Json;
  readonly after?: Json;
  readonly diff?: readonly Difference[];
}

const LONGEST_VALUE = 200;

/**
 * Changes for people, one subject after the other: `+` made, `-` ended, `~` changed, below it each member that differs. A member that stays
 * as it was is not shown, nor is one of a new or ended subject that says nothing (null, empty).
 */
export function changesText(changes: readonly Change[], colours: Colours): string {
  return changes.map((change) => changeText(change, colours)).join('');
}

function changeText(change: Change, colours: Colours): string {
  const [before, after] = [change.before ?? null, change.after ?? null];
  const subject = printable(change.subject);
  if (before === null) return colours.good(`+ ${subject}\n`) + members(after, (line) => colours.good(`    ${line}`));
  if (after === null) return colours.bad(`- ${subject}\n`) + members(before, (line) => colours.bad(`    ${line}`));
  const lines = (change.diff ?? jsonDiff(before, after)).map((difference) => differenceText(difference, colours));
  return colours.doubtful(`~ ${subject}\n`) + lines.join('');
}

/** One member that differs, on a line of its own. */
export function differenceText({ op, pointer, before, after }: Difference, colours: Colours): string {
  const name = `    ${printable(pointer || '/')}  `;
  if (op === 'add') return `${name}${colours.good(`+ ${valueText(after)}`)}\n`;
  if (op === 'remove') return `${name}${colours.bad(`- ${valueText(before)}`)}\n`;
  return `${name}${colours.bad(valueText(before))} → ${colours.good(valueText(after))}\n`;
}

function members(state: Json, paint: (line: string) => string): string {
  if (typeof state !== 'object' || state === null || Array.isArray(state)) return `${paint(valueText(state))}\n`;
  const said = Object.entries(state).filter(([, value]) => !isEmpty(value));
  return said.map(([key, value]) => `${paint(`/${printable(key)}  ${valueText(value)}`)}\n`).join('');
}

function isEmpty(value: Json): boolean {
  return value === null || (typeof value === 'object' && Object.keys(value).length === 0);
}

/** A value on one line, as JSON, cut where it gets long. */
export function valueText(value: Json): string {
  const text = printable(JSON.stringify(value));
  return text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}… (${text.length} characters)` : text;
}

/** `3 changes: 1 new, 1 changed, 1 ended`. */
export function countChanges(changes: readonly Change[]): string {
  if (changes.length === 0) return 'no changes';
  const made = changes.filter(({ before }) => (before ?? null) === null).length;
  const ended = changes.filter(({ before, after }) => (before ?? null) !== null && (after ?? null) === null).length;
  const parts = [
    [made, 'new'],
    [changes.length - made - ended, 'changed'],
    [ended, 'ended'],
  ] as const;
  const said = parts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`);
  return `${changes.length} ${changes.length === 1 ? 'change' : 'changes'}: ${said.join(', ')}`;
}

/** Warnings of an answer, one a line. */
export function warningsText(warnings: readonly { code: string; message: string; pointer?: string }[], colours: Colours): string {
  return warnings
    .map(({ code, message, pointer }) =>
      colours.doubtful(`! ${printable(code)}: ${printable(message)}${pointer ? ` (${printable(pointer)})` : ''}\n`),
    )
    .join('');
}
