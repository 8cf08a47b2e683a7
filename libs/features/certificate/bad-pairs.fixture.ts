import { createPrivateKey, generateKeyPairSync, type KeyObject, type webcrypto } from 'node:crypto';

import * as x509 from '@peculiar/x509';

import {
  ecP256,
  type MadeCertificate,
  makeCertificate,
  makeChain,
  makeKeys,
  serverExtensions,
  type Wanted,
} from './certificate.fixture.js';

/** What somebody may send by mistake, and the reason that he must hear. */
export interface BadPair {
  readonly what: string;
  readonly chain: string;
  readonly key: string;
  readonly code: string;
  readonly pointer: '/certificateChain' | '/privateKey';
}

const inChain = '/certificateChain';
const inKey = '/privateKey';
const rsa = (modulusLength: number, hash = 'SHA-256') => ({
  name: 'RSASSA-PKCS1-v1_5',
  modulusLength,
  publicExponent: new Uint8Array([1, 0, 1]),
  hash,
});

/** Every sort of bad pair, each made of a good one that one thing is wrong with. */
export async function badPairs(): Promise<BadPair[]> {
  const good = await makeChain();
  return [...texts(good), ...(await keys(good)), ...(await chains(good)), ...(await leaves(good))];
}

type Good = Awaited<ReturnType<typeof makeChain>>;

const derOf = (pem: string) => Buffer.from(pem.replaceAll(/-----[A-Z ]+-----|\s/g, ''), 'base64');
const pemOf = (label: string, der: Buffer) => `-----BEGIN ${label}-----\n${der.toString('base64')}\n-----END ${label}-----\n`;

function texts({ leaf, between }: Good): BadPair[] {
  const chain = leaf.pem + between.pem;
  const bad = (what: string, code: string, changed: string): BadPair => ({ what, code, chain: changed, key: leaf.key, pointer: inChain });
  const badKey = (what: string, code: string, key: string): BadPair => ({ what, code, chain, key, pointer: inKey });
  const der = derOf(leaf.pem);
  return [
    bad('no chain', 'pem_empty', ''),
    bad('white space for a chain', 'pem_empty', ' \r\n\t\n'),
    bad('words for a chain', 'pem_missing', 'the certificate is on the share'),
    bad('a path for a chain', 'pem_missing', '/etc/ssl/certs/edge.pem'),
    bad('DER for a chain', 'pem_is_der', der.toString('latin1')),
    bad('DER in base64 for a chain', 'pem_is_der', der.toString('base64')),
    bad('a NUL in the chain', 'pem_nul', chain.replace('\n', '\n\0')),
    bad('line breaks escaped twice', 'pem_escaped', chain.replaceAll('\n', '\\n')),
    bad('all of it on one line', 'pem_garbage', chain.replaceAll('\n', ' ')),
    bad('words before the chain', 'pem_garbage', `Bag Attributes\n    friendlyName: edge\n${chain}`),
    bad('words behind the chain', 'pem_garbage', `${chain}-- \nsent from my phone\n`),
    bad('a chain that was cut', 'pem_unterminated', chain.slice(0, leaf.pem.length - 60)),
    bad('two certificates without the line between them', 'pem_unterminated', leaf.pem.trimEnd() + between.pem),
    bad('an end of another label', 'pem_unterminated', leaf.pem.replace('END CERTIFICATE', 'END X509 CRL')),
    bad('letters that are no base64', 'pem_base64_invalid', leaf.pem.replace(/\n(....)/, '\n!?*_')),
    bad('a block with nothing in it', 'pem_base64_invalid', pemOf('CERTIFICATE', Buffer.alloc(0))),
    bad('a chain of 50 KB', 'pem_too_large', leaf.pem.repeat(90)),
    bad('a request for a certificate', 'chain_is_request', pemOf('CERTIFICATE REQUEST', der)),
    bad('a revocation list', 'pem_label_wrong', pemOf('X509 CRL', der)),
    bad('the key among the certificates', 'key_in_chain', leaf.pem + leaf.key),
    bad('the key in place of the chain', 'key_in_chain', leaf.key),
    bad(
      'something behind the certificate in its block',
      'certificate_unreadable',
      pemOf('CERTIFICATE', Buffer.concat([der, Buffer.from('more')])),
    ),
    bad('a certificate with a byte less', 'certificate_unreadable', pemOf('CERTIFICATE', der.subarray(0, -1))),
    bad('something else in a certificate block', 'certificate_unreadable', pemOf('CERTIFICATE', Buffer.from('3003020101', 'hex'))),
    badKey('no key', 'pem_empty', ''),
    badKey('words for a key', 'pem_missing', 'ask the platform team'),
    badKey('DER for a key', 'pem_is_der', derOf(leaf.key).toString('base64')),
    badKey('a NUL in the key', 'pem_nul', leaf.key.replace('\n', '\n\0')),
    badKey('a certificate for a key', 'certificate_in_key', leaf.pem),
    badKey('a key with its certificate', 'certificate_in_key', leaf.key + leaf.pem),
    badKey('nothing but the parameters of a curve', 'key_missing', pemOf('EC PARAMETERS', Buffer.from('06082a8648ce3d030107', 'hex'))),
    badKey('a key that was cut', 'pem_unterminated', leaf.key.slice(0, 120)),
    badKey('a key of 20 KB', 'pem_too_large', leaf.key.repeat(100)),
    badKey(
      'something behind the key in its block',
      'key_unreadable',
      pemOf('PRIVATE KEY', Buffer.concat([derOf(leaf.key), Buffer.from('more')])),
    ),
    badKey('something else in a key block', 'key_unreadable', pemOf('PRIVATE KEY', Buffer.from('3003020101', 'hex'))),
  ];
}

async function keys({ leaf, between }: Good): Promise<BadPair[]> {
  const chain = leaf.pem + between.pem;
  const bad = (what: string, code: string, key: string): BadPair => ({ what, code, chain, key, pointer: inKey });
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const oldRsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const passphrase = { cipher: 'aes-256-cbc', passphrase: 'secret', format: 'pem' } as const;
  const pair = await makeKeys(rsa(2048));
  const broken = await makeCertificate({ keys: pair, algorithm: rsa(2048) });
  const long = await makeCertificate({ algorithm: rsa(4608) });
  return [
    bad('the key of another certificate', 'key_mismatch', pem(other)),
    bad('the key of an unrelated kind', 'key_mismatch', pem(generateKeyPairSync('rsa', { modulusLength: 2048 }))),
    bad('two keys', 'key_several', leaf.key + pem(other)),
    bad('a key with a passphrase', 'key_encrypted', other.privateKey.export({ type: 'pkcs8', ...passphrase }).toString()),
    bad('a key with a passphrase in the old form', 'key_encrypted', oldRsa.privateKey.export({ type: 'pkcs1', ...passphrase }).toString()),
    bad('the public key', 'key_is_public', other.publicKey.export({ type: 'spki', format: 'pem' }).toString()),
    bad('a key of OpenSSH', 'key_openssh', pemOf('OPENSSH PRIVATE KEY', Buffer.from('openssh-key-v1'))),
    bad('a block of some other thing', 'pem_label_wrong', pemOf('PKCS7', Buffer.from('3003020101', 'hex'))),
    bad('a DSA key', 'key_type_unsupported', pem(generateKeyPairSync('dsa', { modulusLength: 1024, divisorLength: 160 }))),
    bad('an Ed25519 key', 'key_type_unsupported', pem(generateKeyPairSync('ed25519'))),
    bad('an Ed448 key', 'key_type_unsupported', pem(generateKeyPairSync('ed448'))),
    bad('an RSA-PSS key', 'key_type_unsupported', pem(generateKeyPairSync('rsa-pss', { modulusLength: 2048 }))),
    bad('a key for key agreement', 'key_type_unsupported', pem(generateKeyPairSync('x25519'))),
    bad('an RSA key of 512 bits', 'key_too_short', pem(generateKeyPairSync('rsa', { modulusLength: 512 }))),
    bad('an RSA key of 1024 bits', 'key_too_short', pem(generateKeyPairSync('rsa', { modulusLength: 1024 }))),
    { what: 'an RSA key of 4608 bits', code: 'key_too_long', chain: long.pem, key: long.key, pointer: inKey },
    bad('the curve P-224', 'curve_unsupported', pem(generateKeyPairSync('ec', { namedCurve: 'P-224' }))),
    bad('the curve of bitcoin', 'curve_unsupported', pem(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }))),
    { what: 'an RSA key with a damaged part', code: 'key_broken', chain: broken.pem, key: await damaged(pair), pointer: inKey },
  ];
}

const pem = ({ privateKey }: { privateKey: KeyObject }) => privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();

/** An RSA key whose public part is right and whose primes are not. */
async function damaged(pair: webcrypto.CryptoKeyPair): Promise<string> {
  const jwk = (await crypto.subtle.exportKey('jwk', pair.privateKey)) as Record<string, string>;
  const wrong = { ...jwk, dp: jwk.dq, dq: jwk.dp, qi: jwk.dp };
  return createPrivateKey({ key: wrong as never, format: 'jwk' })
    .export({ type: 'pkcs8', format: 'pem' })
    .toString();
}

async function chains({ root, between, leaf }: Good): Promise<BadPair[]> {
  const bad = (what: string, code: string, ...chain: readonly MadeCertificate[]): BadPair => ({
    what,
    code,
    chain: chain.map(({ pem }) => pem).join(''),
    key: leaf.key,
    pointer: inChain,
  });
  const issuing = (wanted: Wanted) =>
    makeCertificate({ ca: true, subject: 'CN=Example Issuing CA', keys: between.keys, issuer: root, ...wanted });
  const caExtensions = (pathLength?: number) => [new x509.BasicConstraintsExtension(true, pathLength, true)];
  const unrelated = await makeCertificate({ ca: true, subject: 'CN=Somebody else' });
  const namesake = await makeCertificate({ ca: true, subject: 'CN=Example Issuing CA', issuer: root });
  const shortRsa = await makeCertificate({ ca: true, subject: 'CN=Old CA', algorithm: rsa(1024) });
  const underShort = await makeCertificate({ issuer: shortRsa, signing: rsa(1024) });
  const narrow = await makeCertificate({ ca: true, subject: 'CN=Narrow Root', extensions: caExtensions(0) });
  const tooDeep = await makeCertificate({ ca: true, subject: 'CN=Deep CA', issuer: narrow });
  const underDeep = await makeCertificate({ issuer: tooDeep });
  const selfMade = await makeCertificate();
  const many = await Promise.all(Array.from({ length: 10 }, (_, i) => makeCertificate({ ca: true, subject: `CN=CA ${i}` })));
  const others: BadPair[] = [
    { ...bad('an issuer with a short key', 'issuer_key_weak', underShort, shortRsa), key: underShort.key },
    { ...bad('an issuer that allows no issuer below it', 'issuer_path_length', underDeep, tooDeep, narrow), key: underDeep.key },
    { ...bad('a certificate of its own issue with a chain', 'chain_unrelated', selfMade, between), key: selfMade.key },
  ];
  return [
    bad('the issuer first', 'leaf_not_first', between, leaf),
    bad('the certificate last', 'leaf_not_first', root, between, leaf),
    bad('the root before the issuer', 'chain_out_of_order', leaf, root, between),
    bad('an unrelated certificate behind it', 'chain_unrelated', leaf, unrelated),
    bad('an unrelated certificate behind the issuer', 'chain_unrelated', leaf, between, unrelated),
    bad('the root without the issuer', 'chain_unrelated', leaf, root),
    bad('another issuer of the same name', 'chain_signature_wrong', leaf, namesake),
    bad('the certificate twice', 'chain_duplicate', leaf, leaf),
    bad('the issuer twice', 'chain_duplicate', leaf, between, between),
    bad('a chain of twelve', 'chain_too_long', leaf, between, ...many),
    bad('an issuer that has expired', 'issuer_expired', leaf, await issuing({ from: -100, until: -1 })),
    bad('an issuer that is not valid yet', 'issuer_not_yet_valid', leaf, await issuing({ from: 1, until: 100 })),
    bad('an issuer that may not issue', 'issuer_not_ca', leaf, await issuing({ extensions: [new x509.BasicConstraintsExtension(false)] })),
    bad('an issuer without a word on that', 'issuer_not_ca', leaf, await issuing({ extensions: [] })),
    bad(
      'an issuer whose key is for other things',
      'issuer_key_usage',
      leaf,
      await issuing({ extensions: [...caExtensions(), new x509.KeyUsagesExtension(x509.KeyUsageFlags.cRLSign)] }),
    ),
    ...others,
  ];
}

async function leaves({ between }: Good): Promise<BadPair[]> {
  const bad = async (what: string, code: string, wanted: Wanted): Promise<BadPair> => {
    const made = await makeCertificate({ issuer: between, signing: ecP256, ...wanted });
    return { what, code, chain: made.pem, key: made.key, pointer: inChain };
  };
  const named = (...dns: readonly string[]) => ({ dns });
  const without = (type: string, ...more: readonly x509.Extension[]) => ({
    extensions: [...serverExtensions({}).filter((one) => one.type !== type), ...more],
  });
  const SAN = '2.5.29.17';
  const raw = (type: string, hex: string, critical = false) => new x509.Extension(type, critical, Buffer.from(hex, 'hex'));
  const sha1 = await makeCertificate({ algorithm: rsa(2048, 'SHA-1') });
  const md5 = pemOf(
    'CERTIFICATE',
    Buffer.from(derOf(sha1.pem).toString('hex').replaceAll('06092a864886f70d010105', '06092a864886f70d010104'), 'hex'),
  );
  return [
    { what: 'a signature with SHA-1', code: 'signature_weak', chain: sha1.pem, key: sha1.key, pointer: inChain },
    { what: 'a signature with MD5', code: 'signature_weak', chain: md5, key: sha1.key, pointer: inChain },
    await bad('an expired certificate', 'certificate_expired', { from: -90, until: -1 }),
    await bad('a certificate of tomorrow', 'certificate_not_yet_valid', { from: 1 }),
    await bad('a certificate that ends before it begins', 'validity_reversed', { from: 10, until: 5 }),
    await bad('a certificate of an authority', 'leaf_is_ca', without('2.5.29.19', new x509.BasicConstraintsExtension(true))),
    await bad(
      'a key that is for encryption only',
      'key_usage_wrong',
      without('2.5.29.15', new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyEncipherment)),
    ),
    await bad(
      'a certificate for clients',
      'no_server_use',
      without('2.5.29.37', new x509.ExtendedKeyUsageExtension(['1.3.6.1.5.5.7.3.2'])),
    ),
    await bad('a critical extension that nobody knows', 'critical_extension_unknown', without('', raw('1.2.3.4.5', '0500', true))),
    await bad('what was shown to the logs', 'certificate_is_precertificate', without('', raw('1.3.6.1.4.1.11129.2.4.3', '0500', true))),
    await bad('the host in the CN only', 'san_missing', without(SAN)),
    await bad('no name at all', 'san_missing', { ...without(SAN), subject: 'O=Example' }),
    await bad('an empty list of names', 'san_empty', without(SAN, raw(SAN, '3000'))),
    await bad(
      'nothing but a mail address',
      'san_empty',
      without(SAN, new x509.SubjectAlternativeNameExtension([{ type: 'email', value: 'a@example.com' }])),
    ),
    await bad('a star within a label', 'san_wildcard_wrong', named('www.example.com', 'w*.example.com')),
    await bad('a star in the second place', 'san_wildcard_wrong', named('www.*.example.com')),
    await bad('two stars', 'san_wildcard_wrong', named('*.*.example.com')),
    await bad('a star for everything', 'san_wildcard_wrong', named('*')),
    await bad('a star below a top-level name', 'san_wildcard_wrong', named('*.com')),
    await bad('an address as a name', 'san_ip_as_name', named('192.0.2.1')),
    await bad('a name with a space', 'san_name_invalid', named('www example.com')),
    await bad('a name with an empty label', 'san_name_invalid', named('www..example.com')),
    await bad('a name with a NUL', 'san_name_invalid', named('www.example.com\0.evil.com')),
    await bad('a URL as a name', 'san_name_invalid', named('https://www.example.com')),
    await bad('an address of five bytes', 'san_ip_invalid', without(SAN, raw(SAN, '3007' + '8705c000020101'))),
  ];
}
