import { createHash, hash } from 'node:crypto';

import { canonicalJson } from './json.js';

/** SHA-256 of bytes or UTF-8 text, as 64 hexadecimal digits. */
export function sha256Hex(bytes: string | Uint8Array): string {
  return hash('sha256', bytes, 'hex');
}

/** The content hash of a JSON value: SHA-256 over its canonical form, 64 hexadecimal digits. */
export function contentHash(value: unknown): string {
  return sha256Hex(canonicalJson(value));
}

/** A UUID (version 8: made by a rule of our own, RFC 9562) that everyone derives alike from the same text. */
export function derivedUuid(text: string): string {
  const bytes = createHash('sha256').update(text).digest();
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = bytes.toString('hex').slice(0, 32);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
