import { isIP } from 'node:net';
import { addressFault, isLoopback, loopbackFault, type UpstreamPolicy } from '#platform/envoy/model/upstream-address.js';
import { DomainError } from '#platform/kernel/errors.js';
import { limits } from './limits.js';
import { type Fault, isFault } from './text.js';

/** Where a mapping sends its requests: what the text `[http://|https://]name[.namespace][:port]` means. */
export interface ServiceReference {
  readonly scheme: 'http' | 'https';
  /** Lower case: `usersvc`, `usersvc.default`, `10.0.0.1`, `fd00::1`. */
  readonly name: string;
  /** The name as it stands in a URL: an IPv6 literal has brackets. */
  readonly host: string;
  readonly port: number;
  /** The identity of the upstream, `http://usersvc:80`: mappings with one key share one cluster. */
  readonly key: string;
  /** 4 or 6 for an IP literal, 0 for a name. */
  readonly ipVersion: 0 | 4 | 6;
}

/**
 * Parses a service. Grammar only: whether the upstream may be reached is `upstreamFault`.
 * @throws DomainError `invalid` with a `service_*` code.
 */
export function parseService(text: string): ServiceReference {
  const result = readService(text);
  if (isFault(result)) throw new DomainError('invalid', result.code, result.message, { errors: [{ pointer: '/service', ...result }] });
  return result;
}

/** Many mappings have one service. What a text means never changes, so the last ones are remembered. */
const MOST_KNOWN = 1_000;
const known = new Map<string, ServiceReference | Fault>();

/** As `parseService`, with the fault as a value. */
export function readService(text: string): ServiceReference | Fault {
  const before = known.get(text);
  if (before !== undefined) return before;
  const read = readAnew(text);
  if (known.size >= MOST_KNOWN) known.clear();
  if (text.length <= limits.textLength) known.set(text, read);
  return read;
}

function readAnew(text: string): ServiceReference | Fault {
  const shape = shapeFault(text);
  if (shape !== undefined) return shape;
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text);
  const protocol = scheme?.[1]?.toLowerCase() ?? 'http';
  if (protocol !== 'http' && protocol !== 'https') {
    return { code: 'service_scheme', message: 'A service is reached by http:// or https://; leave the scheme out for http.' };
  }
  const rest = text.slice(scheme?.[0].length ?? 0);
  if (rest.includes('@'))
    return { code: 'service_user_info', message: 'A service has no user name or password; remove everything up to "@".' };
  if (/[/\\?#]/.test(rest)) {
    return { code: 'service_has_path', message: 'A service is a name and a port, without a path. Use "rewrite" to change the path.' };
  }
  const parts = /^(\[[^\]]*\]|[^:[\]]*)(?::(.*))?$/.exec(rest);
  if (parts === null) {
    return {
      code: 'service_malformed',
      message: 'A service is [http://|https://]name[.namespace][:port]; an IPv6 address stands in brackets.',
    };
  }
  const port = readPort(parts[2], protocol);
  if (typeof port !== 'number') return port;
  const name = readName(parts[1] ?? '');
  if (isFault(name)) return name;
  const host = name.ipVersion === 6 ? `[${name.name}]` : name.name;
  return { scheme: protocol, ...name, host, port, key: `${protocol}://${host}:${port}` };
}

function shapeFault(text: string): Fault | undefined {
  if (text === '') return { code: 'service_empty', message: 'Name the service, for instance "usersvc" or "usersvc.default:8080".' };
  if (text.length > limits.textLength)
    return { code: 'service_too_long', message: `A service has at most ${limits.textLength} characters.` };
  if (/[^\u0021-\u007e]/.test(text)) {
    return {
      code: 'service_bad_character',
      message: 'A service is printable ASCII without spaces; write an international name in punycode (xn--…).',
    };
  }
  return undefined;
}

function readPort(text: string | undefined, scheme: 'http' | 'https'): number | Fault {
  if (text === undefined) return scheme === 'https' ? 443 : 80;
  if (!/^[1-9][0-9]{0,4}$/.test(text) || Number(text) > 65_535) {
    return {
      code: 'service_port',
      message: 'The port is a number from 1 to 65535, without leading zeros; leave ":port" out for 80 (https: 443).',
    };
  }
  return Number(text);
}

function readName(text: string): { name: string; ipVersion: 0 | 4 | 6 } | Fault {
  if (text.startsWith('[')) return readIpv6(text.slice(1, -1));
  const name = text.toLowerCase();
  if (isIP(name) === 4) return { name, ipVersion: 4 };
  if (name.replace(/\.$/, '') !== name) return { code: 'service_trailing_dot', message: 'Remove the trailing dot from the service name.' };
  // What getaddrinfo would read as an address: 0x7f.1, 0177.0.0.1, 2130706433, 127.1.
  if (/^(0x[0-9a-f]*|[0-9]+)$/.test(name.split('.').at(-1) ?? '')) {
    return {
      code: 'service_odd_address',
      message: 'Write an IPv4 address as four decimal numbers without leading zeros; a service name does not end in a number alone.',
    };
  }
  return serviceNameFault(name) ?? { name, ipVersion: 0 };
}

function readIpv6(text: string): { name: string; ipVersion: 6 } | Fault {
  if (text.includes('%')) return { code: 'service_zone_id', message: 'An IPv6 address of a service has no zone (%…); remove it.' };
  if (isIP(text) !== 6) return { code: 'service_bad_address', message: 'What stands in brackets must be an IPv6 address.' };
  // WHATWG URL gives the one canonical form (RFC 5952), so that two spellings are one upstream.
  return { name: new URL(`http://[${text}]`).hostname.slice(1, -1), ipVersion: 6 };
}

function serviceNameFault(name: string): Fault | undefined {
  if (name === '') return { code: 'service_empty', message: 'Name the service before its port.' };
  if (name.length > limits.hostLength)
    return { code: 'service_name_too_long', message: `A service name has at most ${limits.hostLength} characters.` };
  for (const label of name.split('.')) {
    if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(label)) {
      return {
        code: 'service_name_invalid',
        message: 'Each part of a service name is 1 to 63 letters, digits and inner hyphens, as in "usersvc" or "usersvc.default".',
      };
    }
  }
  return undefined;
}

/**
 * Why this upstream may not be reached, or undefined. A name that resolves to a forbidden address later is caught when
 * it is compiled; the network's own rules remain the real barrier.
 */
export function upstreamFault(service: ServiceReference, policy: UpstreamPolicy): Fault | undefined {
  const local = isLoopback(service.name);
  if (service.ipVersion !== 0) {
    const fault = addressFault(service.name, policy);
    if (fault !== undefined) return fault;
  } else if (local && !policy.allowLoopback) return loopbackFault(service.name);
  if (/^metadata(\.google\.internal|\.azure\.internal|\.goog)?$|^instance-data(\.ec2\.internal)?$/.test(service.name)) {
    return { code: 'service_metadata_address', message: `${service.name} is a cloud's metadata service: it cannot be a service.` };
  }
  if (local && policy.ownPorts.has(service.port)) {
    return {
      code: 'service_own_port',
      message: `Port ${service.port} of this machine belongs to Chancery itself; name the port of your service.`,
    };
  }
  return undefined;
}
