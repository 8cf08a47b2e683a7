/** What is wrong with one value, and the way out. */
export interface Fault {
  readonly code: string;
  readonly message: string;
}

/** Does the text hold a character that no header, path or name may hold (C0 controls and DEL)? */
export function hasControlCharacter(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  return /[\u0000-\u001f\u007f]/.test(text);
}

/** Is every character printable ASCII, the space included? */
export function isPrintableAscii(text: string): boolean {
  return /^[\u0020-\u007e]*$/.test(text);
}

/** Orders texts by UTF-16 code unit: the same on every machine, whatever its locale. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Is the value a Fault and not a result? */
export function isFault(value: object): value is Fault {
  return 'code' in value && 'message' in value;
}

/** Is the text free of lone surrogates, that is: can it be written as UTF-8 and read back the same? */
export function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}
