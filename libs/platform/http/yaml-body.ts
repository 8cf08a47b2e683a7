import { Worker } from 'node:worker_threads';

import { LineCounter, parseDocument } from 'yaml';

import { DomainError, type ErrorKind, type FieldError } from '#platform/kernel/errors.js';
import type { Json } from '#platform/kernel/json.js';
import { pointerTo } from '#platform/kernel/pointer.js';

const MOST_DEEP = 20;
/** How often an anchor may be repeated, all in all: ten lines of aliases can otherwise stand for gigabytes. */
const MOST_ALIASES = 100;

/** From so many characters on a text is read in a thread of its own, which takes a tenth of a second to start: it would hold up the others for longer than 50 ms. */
const LONG = 64 * 1024;
/** Each takes a processor: what else the process does must have its own. */
const MOST_AT_ONCE = 2;
/** A text that is made to be slow is given up. */
const DEADLINE_MS = 10_000;

/** The built thread. From the sources, where tests run, there is none to start: they read where they are. */
const thread = import.meta.url.endsWith('.ts') ? undefined : new URL('./yaml-thread.js', import.meta.url);
let running = 0;

/** What the thread says: the value, or why there is none. */
export type YamlAnswer =
  | { readonly value: Json }
  | {
      readonly refusal: {
        readonly kind: ErrorKind;
        readonly code: string;
        readonly message: string;
        readonly errors: readonly FieldError[];
      };
    };

/**
 * As `readYaml`, for a text of up to a megabyte, which takes it 0.5 to 0.7 s: others are served meanwhile.
 * @throws DomainError as `readYaml`; invalid `yaml_too_slow`; unavailable `yaml_busy`.
 */
export async function readLongYaml(text: string): Promise<Json> {
  if (text.length < LONG || thread === undefined) return readYaml(text);
  if (running >= MOST_AT_ONCE)
    throw new DomainError(
      'unavailable',
      'yaml_busy',
      'Other large YAML documents are being read at the moment; try again in a second, or send JSON.',
    );
  running += 1;
  try {
    const answer = await inThread(thread, text);
    if ('value' in answer) return answer.value;
    const { kind, code, message, errors } = answer.refusal;
    throw new DomainError(kind, code, message, { errors });
  } finally {
    running -= 1;
  }
}

function inThread(url: URL, workerData: string): Promise<YamlAnswer> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(url, { workerData });
    const timer = setTimeout(() => {
      reject(refuse('yaml_too_slow', `This YAML takes longer to read than ${DEADLINE_MS / 1000} s; send it as JSON.`, [], 'invalid'));
      void worker.terminate();
    }, DEADLINE_MS);
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', (code) => {
      clearTimeout(timer);
      reject(new Error(`the thread that reads YAML ended with ${code} and no answer`)); // heard by nobody when there was one
    });
  });
}

/**
 * Reads YAML 1.2 text (its core schema) as the JSON that it stands for, as strictly as `parseStrictJson`: one document, no key twice, no tags of
 * anybody's, no number that JSON cannot say.
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

function refuse(code: string, message: string, path: readonly (string | number)[], kind: ErrorKind = 'malformed'): DomainError {
  return new DomainError(kind, code, message, { errors: [{ pointer: pointerTo(...path), code, message }] });
}
