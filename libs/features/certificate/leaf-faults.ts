import { isIP } from 'node:net';

import type { FieldError } from '#platform/kernel/errors.js';

import { type ReadCertificate, usage } from './read-x509.js';

const POINTER = '/certificateChain';
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const ANY_USE = '2.5.29.37.0';
const LONGEST_NAME = 253;

/** Why clients, or Envoy, would not take this certificate from a server at this time. */
export function leafFaults(leaf: ReadCertificate, now: Date): FieldError[] {
  return [...validityFaults(leaf, now), ...useFaults(leaf), ...nameFaults(leaf)];
}

function fault(code: string, message: string): FieldError {
  return { pointer: POINTER, code, message };
}

function* validityFaults({ notBefore, notAfter }: ReadCertificate, now: Date): Iterable<FieldError> {
  if (notAfter <= notBefore)
    yield fault(
      'validity_reversed',
      `It ends (${notAfter.toISOString()}) before it begins (${notBefore.toISOString()}); have it issued anew.`,
    );
  else if (notAfter < now) yield fault('certificate_expired', `It has expired, on ${notAfter.toISOString()}; have it renewed.`);
  else if (notBefore > now)
    yield fault(
      'certificate_not_yet_valid',
      `It is not valid before ${notBefore.toISOString()}; push it then, or check the clock of who issued it.`,
    );
}

function* useFaults(leaf: ReadCertificate): Iterable<FieldError> {
  if (leaf.isPrecertificate)
    yield fault(
      'certificate_is_precertificate',
      'This is what was shown to the transparency logs, not the certificate; fetch that from who issued it.',
    );
  if (leaf.basicConstraints?.ca === true)
    yield fault(
      'leaf_is_ca',
      'This certificate may issue others (CA:TRUE), and must not serve; have one issued by it. With openssl req -x509 add: -addext basicConstraints=critical,CA:FALSE',
    );
  if (leaf.keyUsages !== undefined && (leaf.keyUsages & usage.digitalSignature) === 0)
    yield fault('key_usage_wrong', 'Its key usage leaves out digitalSignature, which handshakes of today need; have it issued with it.');
  const { extendedKeyUsages } = leaf;
  if (extendedKeyUsages !== undefined && !extendedKeyUsages.includes(SERVER_AUTH) && !extendedKeyUsages.includes(ANY_USE))
    yield fault(
      'no_server_use',
      'Its extended key usage leaves out serverAuth, so that clients refuse it from a server; have it issued with it.',
    );
  if (leaf.criticalUnknown.length > 0)
    yield fault(
      'critical_extension_unknown',
      `It has the critical extension ${leaf.criticalUnknown[0]}, which clients do not know and so refuse.`,
    );
}

function* nameFaults({ names, node }: ReadCertificate): Iterable<FieldError> {
  if (names === undefined) {
    const commonName = /(?:^|\n)CN=/.test(node.subject);
    yield commonName
      ? fault('san_missing', 'It names its host in the CN only, where no client looks any more; have it issued with subjectAltName.')
      : fault('san_missing', 'It names no host; have it issued with subjectAltName.');
    return;
  }
  const hosts = names.filter(({ type }) => type === 'dns' || type === 'ip');
  if (hosts.length === 0) {
    yield fault(
      'san_empty',
      `Its subjectAltName names no host${names.length === 0 ? '' : ' (only addresses of another sort)'}; have it issued with DNS names.`,
    );
    return;
  }
  for (const { type, value } of hosts) {
    if (type === 'ip') {
      if (isIP(value) === 0) yield fault('san_ip_invalid', 'It names an IP address that is none.');
    } else yield* dnsNameFaults(value);
  }
}

function* dnsNameFaults(name: string): Iterable<FieldError> {
  const shown = JSON.stringify(name.slice(0, 80));
  if (isIP(name) !== 0) {
    yield fault(
      'san_ip_as_name',
      `It names the address ${shown} as if it were a DNS name, and clients do not find it there; have it issued as an IP address.`,
    );
    return;
  }
  const bare = name.startsWith('*.') ? name.slice(2) : name;
  if (bare.includes('*') || (name.includes('*') && !bare.includes('.')))
    yield fault(
      'san_wildcard_wrong',
      `A star stands for the whole first label of a name of three or more, as in *.example.com; it does not in ${shown}.`,
    );
  else if (name.length > LONGEST_NAME || !bare.split('.').every((label) => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/i.test(label)))
    yield fault('san_name_invalid', `${shown} is no DNS name.`);
}
