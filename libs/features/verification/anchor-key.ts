import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

import { syncFolder } from '#platform/envoy/durable-file.js';

/**
 * The Ed25519 key that anchors are signed with: PEM (PKCS 8) of mode 0600, made where it is missing, its public half beside it as `<file>.pub`.
 * @throws Error that says what to do, for a key that others may read, that is of another kind, or whose public half is another key's.
 */
export function openAnchorKey(file: string): KeyObject {
  if (!existsSync(file)) makeKey(file);
  const others = statSync(file).mode & 0o077;
  if (others !== 0) throw new Error(`${file} can be read by others: chmod 600 it, and take a new key if somebody may have read it`);
  const key = createPrivateKey(readFileSync(file));
  if (key.asymmetricKeyType !== 'ed25519') throw new Error(`${file} holds a ${key.asymmetricKeyType} key; anchors are signed with Ed25519`);
  const pem = createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString();
  const publicFile = `${file}.pub`;
  if (!existsSync(publicFile)) writeNew(publicFile, pem, 0o644);
  else if (!createPublicKey(readFileSync(publicFile)).equals(createPublicKey(key)))
    throw new Error(
      `${publicFile} is not the public half of ${file}: the anchors of two keys must not be mixed; put the right pair in place`,
    );
  return key;
}

/** @throws Error for a file that holds no Ed25519 key. */
export function readPublicKey(pem: Buffer): KeyObject {
  const key = createPublicKey(pem);
  if (key.asymmetricKeyType !== 'ed25519') throw new Error(`it is a ${key.asymmetricKeyType} key; anchors are signed with Ed25519`);
  return key;
}

function makeKey(file: string): void {
  const { privateKey } = generateKeyPairSync('ed25519');
  writeNew(file, privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), 0o600);
}

/** Written once: of two processes that make it at the same time, the second takes the first's. */
function writeNew(file: string, text: string, mode: number): void {
  let fd: number;
  try {
    fd = openSync(file, 'wx', mode);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return;
    throw error;
  }
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  syncFolder(dirname(file));
}
