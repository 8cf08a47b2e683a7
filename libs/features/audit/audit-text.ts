import type { AuditRow } from './audit-trail.table.js';

/** The columns of the CSV, in their order: fixed, because what reads it goes by them. */
const columns = [
  'position',
  'at',
  'category',
  'stream',
  'version',
  'gateway',
  'action',
  'actor',
  'subjects',
  'subjectCount',
  'result',
  'status',
  'code',
  'reason',
  'requestId',
  'commandId',
  'hash',
  'count',
] as const satisfies readonly (keyof AuditRow)[];

/** A row as a line of NDJSON. */
export function ndjsonLine(row: AuditRow): string {
  return `${JSON.stringify(row)}\n`;
}

/** The first line of the CSV (RFC 4180). */
export const csvHeading = `${columns.join(',')}\r\n`;

/** A row as a line of CSV; the subjects are one cell, apart by spaces. */
export function csvLine(row: AuditRow): string {
  return `${columns.map((column) => csvCell(row[column])).join(',')}\r\n`;
}

/** Text that a spreadsheet would take for a formula is put behind an apostrophe, which is what makes it text there. */
export function csvCell(value: AuditRow[keyof AuditRow]): string {
  if (value === null) return '';
  if (typeof value === 'number') return String(value);
  const text = typeof value === 'string' ? value : value.join(' ');
  const plain = /^[=+\-@\t\r\n]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}
