import { createHash } from 'node:crypto';

import { canonicalJson } from './json.js';

/** SHA-256 of bytes or UTF-8 text, as 64 hexadecimal digits. */
export function sha256Hex(bytes: string | Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** The content hash of a JSON value: SHA-256 over its canonical form, 64 hexadecimal digits. */
export function contentHash(value: unknown): string {
  return sha256Hex(canonicalJson(value));
}
