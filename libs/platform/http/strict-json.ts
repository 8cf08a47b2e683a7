import { setImmediate as nextTurn } from 'node:timers/promises';

import { DomainError } from '#platform/kernel/errors.js';
import type { Json } from '#platform/kernel/json.js';
import { pointerTo } from '#platform/kernel/pointer.js';

/** How much of a long text is looked at, or read, before others have their turn: some 5 ms. */
const SLICE = 250_000;
const MOST_DEEP = 20;

// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON forbids exactly these inside a string.
const plain = /[^"\\\u0000-\u001f]*/y;
const escaped = /\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})/y;
const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const word = /true|false|null/y;
const space = /[\u0020\t\r\n]*/y;

/**
 * Reads JSON text as RFC 8259 has it and a little more strictly, because what `JSON.parse` lets through has hurt others:
 * a key given twice (which one counts?), the key `__proto__`, nesting without end, numbers beyond a double.
 * @throws DomainError malformed: `json_invalid`, `json_too_deep`, `json_duplicate_key`, `forbidden_key`, with a pointer.
 */
export function parseStrictJson(text: string, maxDepth = MOST_DEEP): Json {
  const scanner = new Scanner(text, maxDepth);
  scanner.lookOn(text.length);
  scanner.end();
  return JSON.parse(text) as Json;
}

/**
 * The same for a text of megabytes, which gives way to others again and again. The engine's own parser cannot stop, so long lists in the outermost object
 * are given to it in pieces.
 */
export async function parseLongJson(text: string, maxDepth = MOST_DEEP): Promise<Json> {
  const scanner = new Scanner(text, maxDepth);
  for (let until = SLICE; until < text.length; until += SLICE) {
    scanner.lookOn(until);
    await nextTurn();
  }
  scanner.lookOn(text.length);
  scanner.end();
  await nextTurn();
  return parseInPieces(text, scanner.longLists);
}

async function parseInPieces(text: string, lists: readonly LongList[]): Promise<Json> {
  let [outline, at] = ['', 0];
  for (const { from, to } of lists) {
    outline += text.slice(at, from);
    at = to;
  }
  const value = JSON.parse(outline + text.slice(at)) as Record<string, Json[]>;
  for (const { key, from, cuts, to } of lists) {
    const items = value[key] ?? [];
    for (const [i, cut] of [...cuts, to].entries()) {
      const begin = i === 0 ? from : (cuts[i - 1] ?? 0) + 1;
      for (const item of JSON.parse(`[${text.slice(begin, cut)}]`) as Json[]) items.push(item);
      await nextTurn();
    }
  }
  return value;
}

/** A list in the outermost object, and the commas at which it may be cut. */
interface LongList {
  readonly key: string;
  readonly from: number;
  readonly cuts: number[];
  to: number;
}

/** An object or a list that has begun and not ended. */
interface Open {
  /** The keys so far; undefined for a list. */
  readonly keys: Set<string> | undefined;
  /** Where in it we are. */
  step: string | number;
}

type Expected = 'value' | 'first value' | 'first key' | 'key' | 'more' | 'nothing';

/** Looks at a text without making anything of it, and can stop between any two tokens. Its stack is its own, so depth costs no recursion. */
class Scanner {
  readonly #open: Open[] = [];
  readonly longLists: LongList[] = [];
  #list: LongList | undefined;
  #at = 0;
  #expected: Expected = 'value';

  constructor(
    private readonly text: string,
    private readonly maxDepth: number,
  ) {}

  /** Looks at every token that begins before `until`. */
  lookOn(until: number): void {
    for (;;) {
      this.#skip();
      if (this.#at >= until) return;
      this.#token(this.text[this.#at] ?? '');
    }
  }

  end(): void {
    if (this.#expected !== 'nothing') throw this.#invalid();
  }

  #token(mark: string): void {
    if (this.#expected === 'more') this.#more(mark);
    else if (this.#expected === 'key' || this.#expected === 'first key') this.#keyOrEnd(mark);
    else if (this.#expected === 'first value' && mark === ']') this.#close();
    else if (this.#expected !== 'nothing') this.#value(mark);
    else throw this.#invalid();
  }

  #value(mark: string): void {
    if (mark === '{' || mark === '[') {
      this.#begin(mark);
      return;
    }
    if (mark === '"') this.#string();
    else if (mark === '-' || (mark >= '0' && mark <= '9')) this.#number();
    else this.#word();
    this.#expected = this.#open.length === 0 ? 'nothing' : 'more';
  }

  #word(): void {
    const from = this.#at;
    this.#at = after(word, this.text, from);
    if (this.#at === from) throw this.#invalid();
  }

  #begin(mark: '{' | '['): void {
    if (this.#open.length >= this.maxDepth)
      throw refuse('json_too_deep', `The body is nested more than ${this.maxDepth} levels deep.`, this.#path());
    this.#at += 1;
    const outermost = this.#open.length === 1 && mark === '[' ? this.#open[0] : undefined;
    if (outermost?.keys !== undefined) this.#list = { key: String(outermost.step), from: this.#at, cuts: [], to: this.#at };
    this.#open.push(mark === '{' ? { keys: new Set(), step: '' } : { keys: undefined, step: 0 });
    this.#expected = mark === '{' ? 'first key' : 'first value';
  }

  #close(): void {
    if (this.#list !== undefined && this.#open.length === 2) {
      this.#list.to = this.#at;
      if (this.#list.cuts.length > 0) this.longLists.push(this.#list);
      this.#list = undefined;
    }
    this.#at += 1;
    this.#open.pop();
    this.#expected = this.#open.length === 0 ? 'nothing' : 'more';
  }

  #keyOrEnd(mark: string): void {
    if (mark === '}' && this.#expected === 'first key') this.#close();
    else this.#key();
  }

  #key(): void {
    const open = this.#innermost();
    const key = this.#string();
    open.step = key;
    if (key === '__proto__') throw refuse('forbidden_key', 'The key "__proto__" is not accepted.', this.#path());
    if (open.keys?.has(key)) throw refuse('json_duplicate_key', 'This key is given twice; give it once.', this.#path());
    open.keys?.add(key);
    this.#expected = 'more'; // whoever reads on here would say where the container is
    this.#skip();
    if (this.text[this.#at] !== ':') throw this.#invalid();
    this.#at += 1;
    this.#expected = 'value';
  }

  #more(mark: string): void {
    const open = this.#innermost();
    if (mark === (open.keys === undefined ? ']' : '}')) {
      this.#close();
      return;
    }
    if (mark !== ',') throw this.#invalid();
    if (this.#list !== undefined && this.#open.length === 2 && this.#at - (this.#list.cuts.at(-1) ?? this.#list.from) > SLICE)
      this.#list.cuts.push(this.#at);
    this.#at += 1;
    if (typeof open.step === 'number') open.step += 1;
    this.#expected = open.keys === undefined ? 'value' : 'key';
  }

  /** What a string says, which matters for keys. Piece by piece, because one pattern for a string of megabytes would exhaust the engine's stack. */
  #string(): string {
    const { text } = this;
    const from = this.#at;
    if (text[from] !== '"') throw this.#invalid();
    this.#at = after(plain, text, from + 1);
    const isPlain = text[this.#at] === '"';
    while (text[this.#at] === '\\') {
      const next = after(escaped, text, this.#at);
      if (next === this.#at) throw this.#invalid();
      this.#at = after(plain, text, next);
    }
    if (text[this.#at] !== '"') throw this.#invalid();
    this.#at += 1;
    return isPlain ? text.slice(from + 1, this.#at - 1) : (JSON.parse(text.slice(from, this.#at)) as string);
  }

  #number(): void {
    const from = this.#at;
    this.#at = after(number, this.text, from);
    if (this.#at === from) throw this.#invalid();
    if (!Number.isFinite(Number(this.text.slice(from, this.#at)))) throw refuse('json_invalid', 'This number is too large.', this.#path());
  }

  #skip(): void {
    if (this.text.charCodeAt(this.#at) <= 0x20) this.#at = after(space, this.text, this.#at);
  }

  #innermost(): Open {
    const open = this.#open.at(-1);
    if (open === undefined) throw new Error('nothing is open');
    return open;
  }

  #path(): (string | number)[] {
    return this.#open.map(({ step }) => step);
  }

  /** Where a value was expected, its place is told; elsewhere the place of what should have gone on. */
  #invalid(): DomainError {
    const path = this.#path();
    const isValue = this.#expected === 'value' || this.#expected === 'first value';
    return refuse('json_invalid', `The body is not valid JSON (at character ${this.#at}).`, isValue ? path : path.slice(0, -1));
  }
}

/** Where a token that begins at `at` ends; `at` itself when there is none. */
function after(token: RegExp, text: string, at: number): number {
  token.lastIndex = at;
  return token.test(text) ? token.lastIndex : at;
}

function refuse(code: string, message: string, path: readonly (string | number)[]): DomainError {
  return new DomainError('malformed', code, message, { errors: [{ pointer: pointerTo(...path), code, message }] });
}
