import { readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';

import { UsageError } from './usage-error.js';

/**
 * Reads a document as JSON text: JSON as it is, byte for byte (so that the API can name what is wrong with it), YAML converted.
 * @param file `-` for `stdin`
 * @throws UsageError when it cannot be read, or is neither.
 */
export async function readDocument(file: string, stdin: Readable): Promise<string> {
  const name = file === '-' ? 'The document on stdin' : file;
  const text = await readText(file, stdin);
  if (text.trim() === '') throw new UsageError(`${name} is empty.`);
  if (isJson(text)) return text;
  return fromYaml(text, name);
}

/** As `readDocument`, as a value. */
export async function readDocumentValue(file: string, stdin: Readable): Promise<unknown> {
  return JSON.parse(await readDocument(file, stdin));
}

async function readText(file: string, stdin: Readable): Promise<string> {
  try {
    if (file !== '-') return utf8(readFileSync(file));
    const chunks: Buffer[] = [];
    for await (const chunk of stdin) chunks.push(Buffer.from(chunk));
    return utf8(Buffer.concat(chunks));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_ENCODING_INVALID_ENCODED_DATA')
      throw new UsageError(`${file === '-' ? 'What came on stdin' : file} is no UTF-8 text.`);
    throw new UsageError(`${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? (error as Error).message}).`);
  }
}

function utf8(bytes: Buffer): string {
  return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** One document, no key twice, and nothing that JSON could not say. */
async function fromYaml(text: string, name: string): Promise<string> {
  const { parseAllDocuments } = await import('yaml');
  const documents = parseAllDocuments(text, { prettyErrors: true, stringKeys: true });
  const [first, second] = Array.isArray(documents) ? documents : [];
  if (first === undefined) throw new UsageError(`${name} is empty.`);
  if (second !== undefined) throw new UsageError(`${name} holds several documents (--- between them). Give one at a time.`);
  const [error] = first.errors;
  if (error !== undefined) throw new UsageError(`${name} is neither JSON nor YAML: ${error.message.trimEnd()}`);
  try {
    return JSON.stringify(first.toJS(), (_key, value) => {
      if (typeof value === 'number' && !Number.isFinite(value)) throw new RangeError('numbers must be finite');
      return value;
    });
  } catch (error) {
    throw new UsageError(`${name} says what JSON cannot: ${(error as Error).message}`);
  }
}
