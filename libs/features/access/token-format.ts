import { createHash, randomBytes } from 'node:crypto';

/** `chy_<id>_<secret>`: 64 random bits name the token, 256 more are the secret. The prefix lets scanners find one that leaked. */
const form = /^chy_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$/;

export interface PresentedToken {
  readonly id: string;
  readonly secret: string;
}

/** A new token. `text` is what its holder gets, once. */
export function newToken(): PresentedToken & { readonly text: string } {
  const id = randomBytes(8).toString('hex');
  const secret = randomBytes(32).toString('base64url');
  return { id, secret, text: `chy_${id}_${secret}` };
}

/** The parts of a token, or undefined for text that cannot be one. */
export function parseToken(text: string): PresentedToken | undefined {
  const match = form.exec(text);
  return match?.[1] === undefined || match[2] === undefined ? undefined : { id: match[1], secret: match[2] };
}

/** What is kept of a secret. */
export function secretHash(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}
