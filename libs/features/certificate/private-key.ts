import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';

import { derLength, invalid, type PemBlock, readPem } from './pem-blocks.js';

const POINTER = '/privateKey';
const MOST_BYTES = 16 * 1024;

const encodings: Readonly<Record<string, 'pkcs8' | 'pkcs1' | 'sec1'>> = {
  'PRIVATE KEY': 'pkcs8',
  'RSA PRIVATE KEY': 'pkcs1',
  'EC PRIVATE KEY': 'sec1',
};

/** Names of key types as people know them. */
const typeNames: Readonly<Record<string, string>> = {
  rsa: 'RSA',
  'rsa-pss': 'RSA-PSS',
  ec: 'EC',
  ed25519: 'Ed25519',
  ed448: 'Ed448',
  dsa: 'DSA',
  dh: 'Diffie-Hellman',
  x25519: 'X25519',
  x448: 'X448',
};

/** What Envoy serves with: tried with Envoy 1.40. It refuses RSA-PSS, Ed448 and DSA keys and all other curves. */
const curves: Readonly<Record<string, string>> = { prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' };
const RSA_LEAST_BITS = 2048;
const RSA_MOST_BITS = 4096;

/** Reads the one private key of a PEM text. @throws DomainError invalid, the pointer at /privateKey. */
export function readPrivateKey(text: string): KeyObject {
  const blocks = readPem(text, POINTER, 'a private key', MOST_BYTES).filter(({ label }) => label !== 'EC PARAMETERS'); // the key names its curve itself
  for (const block of blocks) refuseOtherBlock(block);
  const [block, ...others] = blocks;
  if (block === undefined)
    throw invalid(POINTER, 'key_missing', 'There is no private key in it; send one that begins with -----BEGIN PRIVATE KEY-----.');
  if (others.length > 0)
    throw invalid(POINTER, 'key_several', `There are ${blocks.length} private keys in it; send the one that belongs to the certificate.`);
  if (derLength(block.der) !== block.der.length)
    throw invalid(POINTER, 'key_unreadable', 'The private key cannot be read: it was damaged or cut, or something was added to it.');
  const key = parse(block);
  const fault = keyFault(key);
  if (fault !== undefined) throw invalid(POINTER, fault.code, fault.message);
  return key;
}

function refuseOtherBlock({ label, headers }: PemBlock): void {
  if (label === 'ENCRYPTED PRIVATE KEY' || headers.some((header) => header.includes('ENCRYPTED')))
    throw invalid(
      POINTER,
      'key_encrypted',
      'The private key is protected by a passphrase; take that off: openssl pkey -in FILE. It is kept encrypted here.',
    );
  if (label in encodings) return;
  if (label === 'CERTIFICATE')
    throw invalid(
      POINTER,
      'certificate_in_key',
      'There is a certificate where the private key belongs; certificates go into certificateChain.',
    );
  if (label === 'PUBLIC KEY' || label === 'RSA PUBLIC KEY')
    throw invalid(POINTER, 'key_is_public', 'This is a public key; send the private one that belongs to it.');
  if (label === 'OPENSSH PRIVATE KEY')
    throw invalid(POINTER, 'key_openssh', 'This is a key of OpenSSH; convert it: ssh-keygen -p -m PEM -f FILE.');
  if (label === 'DSA PRIVATE KEY') throw invalid(POINTER, 'key_type_unsupported', unsupported('DSA'));
  throw invalid(POINTER, 'pem_label_wrong', `A block ${label} is no private key; send one that begins with -----BEGIN PRIVATE KEY-----.`);
}

function parse({ label, der }: PemBlock): KeyObject {
  try {
    return createPrivateKey({ key: der, format: 'der', type: encodings[label] as 'pkcs8' });
  } catch {
    // Without its cause: nothing of a key may reach a log.
    throw invalid(
      POINTER,
      'key_unreadable',
      'The private key cannot be read: it was damaged or cut, or is of a kind that nobody uses for this.',
    );
  }
}

/** Why Envoy (or a client of today) would not take a key, private or public; undefined when it would. */
export function keyFault(key: KeyObject): { readonly code: string; readonly message: string } | undefined {
  const { modulusLength = 0, namedCurve = '' } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case 'rsa':
      if (modulusLength < RSA_LEAST_BITS)
        return {
          code: 'key_too_short',
          message: `An RSA key of ${modulusLength} bits can be broken; make one of ${RSA_LEAST_BITS} or more, or an EC key on P-256.`,
        };
      if (modulusLength > RSA_MOST_BITS)
        return {
          code: 'key_too_long',
          message: `An RSA key of ${modulusLength} bits makes every handshake many times as expensive for the gateway as for who asks for it; ${RSA_MOST_BITS} is the most.`,
        };
      return undefined;
    case 'ec':
      if (namedCurve in curves) return undefined;
      return {
        code: 'curve_unsupported',
        message: `Envoy does not serve with the curve ${namedCurve || 'of this key'}; use P-256 (or P-384, P-521).`,
      };
    case 'ed25519':
      return {
        code: 'key_type_unsupported',
        message: 'Envoy would serve with an Ed25519 key, and no browser takes one from a server; use an EC key on P-256.',
      };
    default:
      return { code: 'key_type_unsupported', message: unsupported(typeNames[key.asymmetricKeyType ?? ''] ?? 'this') };
  }
}

function unsupported(type: string): string {
  return `Envoy does not serve with a ${type} key; use an EC key on P-256, or RSA of ${RSA_LEAST_BITS} to ${RSA_MOST_BITS} bits.`;
}

/** `RSA 2048`, `EC P-256`, `Ed25519`. */
export function keyAlgorithmOf(key: KeyObject): string {
  const { modulusLength, namedCurve = '' } = key.asymmetricKeyDetails ?? {};
  const type = typeNames[key.asymmetricKeyType ?? ''] ?? 'unknown';
  if (modulusLength !== undefined) return `${type} ${modulusLength}`;
  return namedCurve === '' ? type : `${type} ${curves[namedCurve] ?? namedCurve}`;
}

/** Whether both are of one pair, by what they are. */
export function isPair(privateKey: KeyObject, publicKey: KeyObject): boolean {
  return createPublicKey(privateKey).equals(publicKey);
}

/** Whether what the one signs the other accepts: a key can be of the right form and yet be broken in its parts. */
export function signsFor(privateKey: KeyObject, publicKey: KeyObject): boolean {
  if (privateKey.asymmetricKeyType === 'rsa' && !isSoundRsa(privateKey)) return false;
  const hash = privateKey.asymmetricKeyType === 'ed25519' ? null : 'sha256';
  const words = Buffer.from('one pair');
  try {
    return verify(hash, words, publicKey, sign(hash, words, privateKey));
  } catch {
    return false;
  }
}

/** OpenSSL works around parts that contradict each other; Envoy's library refuses them. */
function isSoundRsa(key: KeyObject): boolean {
  const jwk = key.export({ format: 'jwk' });
  const part = (name: 'n' | 'e' | 'd' | 'p' | 'q' | 'dp' | 'dq' | 'qi') => {
    const hex = Buffer.from(jwk[name] ?? '', 'base64url').toString('hex');
    return BigInt(hex === '' ? 0 : `0x${hex}`);
  };
  const [n, e, d, p, q] = [part('n'), part('e'), part('d'), part('p'), part('q')];
  if (p < 3n || q < 3n || p * q !== n) return false;
  const [p1, q1] = [p - 1n, q - 1n];
  const isInverse = (e * d) % p1 === 1n && (e * d) % q1 === 1n;
  return isInverse && part('dp') === d % p1 && part('dq') === d % q1 && (part('qi') * q) % p === 1n;
}

/** The key in the one form that it is kept in. */
export function keyText(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}
