import { sha256Hex } from '#platform/kernel/digest.js';

/**
 * User text where Envoy interprets `%…%` operators (header values, formats): every `%` doubled, so that
 * `%ENVIRONMENT(HOME)%` reaches the other side as these characters and not as the gateway's environment.
 */
export function literal(text: string): string {
  return text.replaceAll('%', '%%');
}

/**
 * User text as part of a name that Envoy puts in statistics or we put in a file name: letters, digits and hyphens stay,
 * every other byte becomes `_xx`. Different texts give different results, none has a dot, colon or slash.
 * A result over 120 characters is cut and ends in a hash of the whole.
 */
export function statToken(text: string): string {
  const token = text.replace(notPlain, escaped);
  return token.length <= 120 ? token : `${token.slice(0, 90)}_-${sha256Hex(text).slice(0, 24)}`;
}

/** Whole characters, halves of surrogate pairs by themselves. */
const notPlain = /[^A-Za-z0-9-]/gu;

const escapes = Array.from({ length: 128 }, (_, code) => escapedBytes(String.fromCharCode(code)));

function escaped(character: string): string {
  return escapes[character.codePointAt(0) ?? 0] ?? escapedBytes(character);
}

function escapedBytes(text: string): string {
  return [...Buffer.from(text, 'utf8')].map((byte) => `_${byte.toString(16).padStart(2, '0')}`).join('');
}

/** Milliseconds as protobuf's JSON writes a Duration. */
export function duration(ms: number): string {
  const whole = Math.trunc(ms);
  const rest = whole % 1000;
  return rest === 0 ? `${whole / 1000}s` : `${Math.trunc(whole / 1000)}.${String(rest).padStart(3, '0')}s`;
}
