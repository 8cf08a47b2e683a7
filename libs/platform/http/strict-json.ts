import { DomainError } from '#platform/kernel/errors.js';
import type { Json } from '#platform/kernel/json.js';
import { pointerTo } from '#platform/kernel/pointer.js';

const literal =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: JSON forbids exactly these inside a string.
  /[\u0020\t\r\n]*(?:(true|false|null)|(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)|("(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*")|([[\]{},:]))/y;
const space = /[\u0020\t\r\n]*/y;

/**
 * Reads JSON text as RFC 8259 has it and a little more strictly, because what `JSON.parse` lets through has hurt others:
 * a key given twice (which one counts?), the key `__proto__`, nesting without end, numbers beyond a double.
 * `text` is at most the body limit long, and the nesting is bounded, so recursion is safe.
 * @throws DomainError malformed: `json_invalid`, `json_too_deep`, `json_duplicate_key`, `forbidden_key`, with a pointer.
 */
export function parseStrictJson(text: string, maxDepth = 20): Json {
  const reader = new Reader(text, maxDepth);
  const value = reader.value([]);
  reader.end();
  return value;
}

class Reader {
  private at = 0;

  constructor(
    private readonly text: string,
    private readonly maxDepth: number,
  ) {}

  value(path: readonly (string | number)[]): Json {
    const [word, number, string, mark] = this.token(path);
    if (word !== undefined) return word === 'null' ? null : word === 'true';
    if (number !== undefined) return this.number(number, path);
    if (string !== undefined) return JSON.parse(string) as string;
    if (mark !== '{' && mark !== '[') throw this.invalid(path);
    if (path.length >= this.maxDepth) {
      throw refuse('json_too_deep', `The body is nested more than ${this.maxDepth} levels deep.`, path);
    }
    return mark === '{' ? this.object(path) : this.array(path);
  }

  end(): void {
    space.lastIndex = this.at;
    space.exec(this.text);
    this.at = space.lastIndex;
    if (this.at < this.text.length) throw this.invalid([]);
  }

  private object(path: readonly (string | number)[]): Json {
    const members = new Map<string, Json>();
    if (this.skip('}')) return {};
    for (;;) {
      const [, , quoted] = this.token(path);
      if (quoted === undefined) throw this.invalid(path);
      const key = JSON.parse(quoted) as string;
      const inner = [...path, key];
      if (key === '__proto__') throw refuse('forbidden_key', 'The key "__proto__" is not accepted.', inner);
      if (members.has(key)) throw refuse('json_duplicate_key', 'This key is given twice; give it once.', inner);
      if (this.mark(path) !== ':') throw this.invalid(path);
      members.set(key, this.value(inner));
      const next = this.mark(path);
      if (next === '}') return Object.fromEntries(members);
      if (next !== ',') throw this.invalid(path);
    }
  }

  private array(path: readonly (string | number)[]): Json {
    const items: Json[] = [];
    if (this.skip(']')) return items;
    for (;;) {
      items.push(this.value([...path, items.length]));
      const next = this.mark(path);
      if (next === ']') return items;
      if (next !== ',') throw this.invalid(path);
    }
  }

  private number(text: string, path: readonly (string | number)[]): number {
    const value = Number(text);
    if (!Number.isFinite(value)) throw refuse('json_invalid', 'This number is too large.', path);
    return value;
  }

  /** The next token as [word, number, string, mark]; exactly one is set. */
  private token(path: readonly (string | number)[]): readonly (string | undefined)[] {
    literal.lastIndex = this.at;
    const match = literal.exec(this.text);
    if (match === null) throw this.invalid(path);
    this.at = literal.lastIndex;
    return match.slice(1);
  }

  private mark(path: readonly (string | number)[]): string | undefined {
    return this.token(path)[3];
  }

  private skip(closing: string): boolean {
    space.lastIndex = this.at;
    space.exec(this.text);
    if (this.text[space.lastIndex] !== closing) return false;
    this.at = space.lastIndex + 1;
    return true;
  }

  private invalid(path: readonly (string | number)[]): DomainError {
    return refuse('json_invalid', `The body is not valid JSON (at character ${this.at}).`, path);
  }
}

function refuse(code: string, message: string, path: readonly (string | number)[]): DomainError {
  return new DomainError('malformed', code, message, { errors: [{ pointer: pointerTo(...path), code, message }] });
}
