import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';

const ALGORITHM = 'aes-256-gcm';
const IV_BYTES = 12;
const TAG_BYTES = 16;
const KEY_BYTES = 32;

/** A key that encrypts the keys of secrets. It stands in a file outside the database. */
export interface KeyEncryptionKey {
  readonly id: string;
  readonly bytes: Buffer;
}

/** What a secret is and where it belongs. It is authenticated with the ciphertext, so that a row moved to another's place cannot be opened. */
export interface SecretPlace {
  readonly id: string;
  readonly gateway: string;
  readonly name: string;
  readonly version: number;
}

/** A secret at rest. */
export interface SealedSecret {
  readonly kekId: string;
  /** The secret's own key under the key of `kekId`: 12 bytes of IV, 32 of key, 16 of tag. */
  readonly wrappedKey: Buffer;
  readonly iv: Buffer;
  readonly tag: Buffer;
  readonly ciphertext: Buffer;
}

/** Thrown when the bytes are not what was sealed: altered, cut short, moved from another row, or sealed with another key of the same id. */
export class SealBroken extends Error {
  constructor(what: string, options?: ErrorOptions) {
    super(`${what} cannot be opened: it was altered, belongs elsewhere, or was sealed with another key`, options);
    this.name = 'SealBroken';
  }
}

/** Encrypts a secret with a new key of its own, and that key with the given one. `bound` is stored in the clear beside it and authenticated too. */
export function seal(plaintext: Buffer, place: SecretPlace, kek: KeyEncryptionKey, bound: string): SealedSecret {
  const key = randomBytes(KEY_BYTES);
  try {
    const { iv, ciphertext, tag } = encrypt(key, plaintext, contentContext(place, bound));
    return { kekId: kek.id, wrappedKey: wrap(key, place, kek), iv, tag, ciphertext };
  } finally {
    key.fill(0);
  }
}

/** @throws SealBroken */
export function unseal(sealed: SealedSecret, place: SecretPlace, kek: KeyEncryptionKey, bound: string): Buffer {
  const key = unwrap(sealed.wrappedKey, place, kek);
  try {
    return decrypt(key, sealed, contentContext(place, bound), 'the secret');
  } finally {
    key.fill(0);
  }
}

/** The secret's own key under another key: what a rotation changes. The ciphertext stays as it is. @throws SealBroken */
export function rewrap(wrappedKey: Buffer, place: SecretPlace, from: KeyEncryptionKey, to: KeyEncryptionKey): Buffer {
  const key = unwrap(wrappedKey, place, from);
  try {
    return wrap(key, place, to);
  } finally {
    key.fill(0);
  }
}

function wrap(key: Buffer, place: SecretPlace, kek: KeyEncryptionKey): Buffer {
  const { iv, ciphertext, tag } = encrypt(kek.bytes, key, keyContext(place, kek.id));
  return Buffer.concat([iv, ciphertext, tag]);
}

function unwrap(wrapped: Buffer, place: SecretPlace, kek: KeyEncryptionKey): Buffer {
  if (wrapped.length !== IV_BYTES + KEY_BYTES + TAG_BYTES) throw new SealBroken('the key of the secret');
  const parts = {
    iv: wrapped.subarray(0, IV_BYTES),
    ciphertext: wrapped.subarray(IV_BYTES, IV_BYTES + KEY_BYTES),
    tag: wrapped.subarray(IV_BYTES + KEY_BYTES),
  };
  return decrypt(kek.bytes, parts, keyContext(place, kek.id), 'the key of the secret');
}

interface Encrypted {
  readonly iv: Buffer;
  readonly ciphertext: Buffer;
  readonly tag: Buffer;
}

function encrypt(key: Buffer, plaintext: Buffer, context: Buffer): Encrypted {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv(ALGORITHM, key, iv, { authTagLength: TAG_BYTES });
  cipher.setAAD(context);
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return { iv, ciphertext, tag: cipher.getAuthTag() };
}

function decrypt(key: Buffer, { iv, ciphertext, tag }: Encrypted, context: Buffer, what: string): Buffer {
  // Node takes shorter tags unless it is told their length, and a short tag can be guessed.
  if (iv.length !== IV_BYTES || tag.length !== TAG_BYTES) throw new SealBroken(what);
  const decipher = createDecipheriv(ALGORITHM, key, iv, { authTagLength: TAG_BYTES });
  decipher.setAAD(context);
  decipher.setAuthTag(tag);
  try {
    return Buffer.concat([decipher.update(ciphertext), decipher.final()]);
  } catch (cause) {
    throw new SealBroken(what, { cause });
  }
}

/** The key of `kekId` is no part of the content's context: a rotation would have to encrypt every secret anew. */
function contentContext({ id, gateway, name, version }: SecretPlace, bound: string): Buffer {
  return Buffer.from(JSON.stringify(['secret', gateway, name, version, id, bound]));
}

function keyContext({ id, gateway, name, version }: SecretPlace, kekId: string): Buffer {
  return Buffer.from(JSON.stringify(['key', gateway, name, version, id, kekId]));
}
