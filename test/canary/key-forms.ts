import { createPrivateKey } from 'node:crypto';

/** What gives a private key away, whatever form it is written in. */
export interface KeyMarks {
  readonly name: string;
  readonly marks: readonly Buffer[];
}

/** Bytes of the key's secret numbers that are looked for at a time: short enough to lie within one line of PEM, too long to be met by chance. */
const PIECE = 12;

/**
 * The marks of a private key: pieces of its secret numbers (of an EC key the scalar, of an RSA key the exponent and the primes), as they are, in hexadecimal,
 * and as base64 has them at each of the three places where they may begin. So every form is met that holds the key: PKCS #1, PKCS #8 and SEC 1, in
 * PEM or DER, JWK, and each of those once more in hexadecimal, as Postgres writes bytes.
 */
export function marksOf(name: string, pem: string): KeyMarks {
  const jwk = createPrivateKey(pem).export({ format: 'jwk' });
  const numbers = [jwk.d, jwk.p, jwk.q].flatMap((part) => (part === undefined ? [] : [Buffer.from(part, 'base64url')]));
  const pieces = numbers.flatMap((number) => [0, 8, number.length - PIECE].map((at) => number.subarray(at, at + PIECE)));
  const texts = pieces.flatMap((piece) => {
    const base64 = [0, 1, 2].flatMap((offset) => inBase64(piece, offset));
    const hex = piece.toString('hex');
    return [hex, hex.toUpperCase(), ...base64, ...base64.map((text) => Buffer.from(text).toString('hex'))];
  });
  return { name, marks: [...pieces, ...new Set(texts)].map((mark) => (typeof mark === 'string' ? Buffer.from(mark) : mark)) };
}

/** What of base64 is the same whatever stands before and after these bytes, when `offset` bytes stand before them in their group of three. */
function inBase64(piece: Buffer, offset: number): string[] {
  const whole = Buffer.concat([Buffer.alloc(offset), piece]);
  const text = whole.toString('base64').replaceAll('=', '');
  const [from, to] = [Math.ceil((offset * 8) / 6), Math.floor((whole.length * 8) / 6)];
  const inner = text.slice(from, to);
  return [inner, inner.replaceAll('+', '-').replaceAll('/', '_')];
}

/** The names of the keys that are met in some bytes, also across the ends of lines, written or escaped. */
export function keysIn(bytes: Buffer, keys: readonly KeyMarks[]): string[] {
  const joined = Buffer.from(bytes.toString('latin1').replaceAll(/\s|(?:\\+[nrt])/g, ''), 'latin1');
  return keys.filter(({ marks }) => marks.some((mark) => bytes.includes(mark) || joined.includes(mark))).map(({ name }) => name);
}
