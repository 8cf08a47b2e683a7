import { displayWidth, printable } from './printable.js';

/** One column of a table. `text` is plain; `paint` colours it after it has been measured. */
export interface Column<T> {
  readonly title: string;
  readonly text: (row: T) => string | number | null | undefined;
  readonly align?: 'left' | 'right';
  readonly paint?: (text: string, row: T) => string;
}

/**
 * Rows below a line of titles, in columns two cells apart, as wide as their widest cell. Data is made printable here, so that no cell can break its
 * line or command the terminal. Nothing is cut: what is too long for the terminal wraps there.
 */
export function table<T>(rows: readonly T[], columns: readonly Column<T>[], paintTitle: (text: string) => string = (text) => text): string {
  const cells = rows.map((row) => columns.map((column) => printable(String(column.text(row) ?? '-')) || '-'));
  const widths = columns.map(({ title }, at) => cells.reduce((most, row) => Math.max(most, displayWidth(row[at] ?? '')), title.length));
  const line = (texts: readonly string[], paint: (text: string, at: number) => string) =>
    texts
      .map((text, at) => {
        const room = ' '.repeat((widths[at] ?? 0) - displayWidth(text));
        if (columns[at]?.align === 'right') return room + paint(text, at);
        return at === columns.length - 1 ? paint(text, at) : paint(text, at) + room;
      })
      .join('  ');
  const head = line(
    columns.map(({ title }) => title),
    paintTitle,
  );
  const body = rows.map((row, i) => line(cells[i] ?? [], (text, at) => columns[at]?.paint?.(text, row) ?? text));
  return `${[head, ...body].map((text) => `${text}\n`).join('')}`;
}

/** Names and values below each other; a member without a value is left out. */
export function facts(entries: readonly (readonly [name: string, value: string | number | null | undefined])[]): string {
  const shown = entries.filter(([, value]) => value !== null && value !== undefined && value !== '');
  const width = shown.reduce((most, [name]) => Math.max(most, name.length), 0);
  return shown.map(([name, value]) => `${name.padEnd(width)}  ${printable(String(value))}\n`).join('');
}
