import type { Colours } from './colours.js';
import { printableJson } from './printable.js';

export type Format = 'table' | 'json' | 'yaml';
export const formats: readonly Format[] = ['table', 'json', 'yaml'];

/** Where a command's answer goes. Data on stdout in the format that was asked for; everything that is said about it on stderr. */
export class Output {
  constructor(
    readonly format: Format,
    readonly colours: Colours,
    private readonly stdout: NodeJS.WritableStream,
    private readonly stderr: NodeJS.WritableStream,
  ) {}

  /** The answer: the value itself as JSON or YAML, or `text` for people. */
  async print(value: unknown, text: () => string): Promise<void> {
    this.stdout.write(this.format === 'table' ? text() : await serialise(value, this.format));
  }

  /** Text as it is, on stdout. */
  raw(text: string): void {
    this.stdout.write(text);
  }

  /** What people should see before or beside the answer: with the table on stdout, with JSON and YAML out of their way on stderr. */
  aside(text: string): void {
    (this.format === 'table' ? this.stdout : this.stderr).write(text);
  }

  /** A line on stderr. */
  note(text: string): void {
    this.stderr.write(`${text}\n`);
  }
}

/** A value as one document. YAML is loaded only when it is wanted: it takes a tenth of a second. */
async function serialise(value: unknown, format: 'json' | 'yaml'): Promise<string> {
  if (format === 'json') return `${printableJson(JSON.stringify(value, null, 2))}\n`;
  const { stringify } = await import('yaml');
  return printableYaml(stringify(value, { lineWidth: 0, aliasDuplicateObjects: false }));
}

/** The writer quotes a string with such a character, and within double quotes its code means the same. */
function printableYaml(text: string): string {
  return text.replaceAll(/[\u007f-\u009f]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
