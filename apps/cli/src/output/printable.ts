/**
 * Text of others on a terminal. Names, reasons and messages come from whoever wrote them, and a terminal obeys what it is sent: escape sequences
 * move the cursor, change the title, hide lines. So whatever could command a terminal is shown as its code, never sent.
 */

/** Control characters (C0, DEL, C1), separators that break lines, characters that turn the direction of writing, and lone surrogates. */
const commanding = /[\p{Cc}\p{Cs}\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

const known: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** One line of text that can command nothing: `\n`, `\u001b` and their like stand for what was there. */
export function printable(text: string): string {
  return text.replaceAll(commanding, (character) => known[character] ?? code(character));
}

/** As `printable`, for a text of several lines, which it keeps. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

/** JSON that can command nothing and still says the same: JSON.stringify escapes C0 only, the rest can only stand inside of strings. */
export function printableJson(text: string): string {
  return text.replaceAll(/[\u007f-\u009f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, code);
}

function code(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** East Asian wide and fullwidth blocks (Unicode's EastAsianWidth W and F, joined where nothing narrow is assigned between), and emoji. */
const wide =
  /[\u1100-\u115f\u2329\u232a\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{16fe0}-\u{18aff}\u{1aff0}-\u{1b2ff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}|\p{Extended_Pictographic}\ufe0f/u;
const unseen = /^[\p{M}\p{Cf}]*$/u;

const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' });

/** How many cells of a terminal the text takes: two for a wide character or an emoji, none for a combining mark. */
export function displayWidth(text: string): number {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length;
  let width = 0;
  for (const { segment } of graphemes.segment(text)) width += wide.test(segment) ? 2 : unseen.test(segment) ? 0 : 1;
  return width;
}
