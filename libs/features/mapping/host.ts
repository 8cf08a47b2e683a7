import { limits } from './limits.js';
import type { Fault } from './text.js';

/** How broad a host is; exact wins over suffix, the longest suffix over a shorter one, any comes last. */
export type HostKind = 'exact' | 'suffix' | 'any';

/** The kind of a normalised host. */
export function hostKind(host: string): HostKind {
  if (host === '*') return 'any';
  return host.startsWith('*.') ? 'suffix' : 'exact';
}

/**
 * Does a normalised host pattern cover a host name (lower case, no port, no trailing dot)?
 * `*.example.com` covers any depth below example.com and not example.com itself, as Envoy's domains do.
 */
export function hostCovers(pattern: string, host: string): boolean {
  if (pattern === '*') return true;
  if (!pattern.startsWith('*.')) return pattern === host;
  const suffix = pattern.slice(1);
  return host.length > suffix.length && host.endsWith(suffix);
}

/**
 * Normalises the host of a mapping: case is folded and one trailing dot is dropped, because neither changes what the
 * name means. All else is refused and not guessed: a port (Envoy strips it before it matches), Unicode (two names that
 * look alike must not become one by our doing), IPv6 literals.
 */
export function parseHost(text: string): { host: string } | Fault {
  if (text === '*') return { host: '*' };
  if (text === '') return { code: 'host_empty', message: 'The host is empty; leave it out, or write "*", for any host.' };
  const host = text.toLowerCase().replace(/\.$/, '');
  const fault = hostFault(host);
  return fault ?? { host };
}

function hostFault(host: string): Fault | undefined {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  if (/[\u0000-\u0020\u007f]/.test(host))
    return { code: 'host_control_character', message: 'A host has no spaces or control characters; remove them.' };
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is 0 to 7f
  if (/[^\u0000-\u007f]/.test(host))
    return { code: 'host_not_ascii', message: 'Write an international host in its punycode form (xn--…).' };
  if (host.includes('/'))
    return { code: 'host_not_a_name', message: 'A host is a name such as "api.example.com", without scheme and path.' };
  if (host.includes('[') || /^[0-9a-f]*:[0-9a-f]*:/.test(host)) {
    return { code: 'host_ipv6', message: 'An IPv6 literal cannot be a host; use a name, or "*" for any host.' };
  }
  if (host.includes(':'))
    return { code: 'host_has_port', message: 'A host has no port: every port of the gateway answers for it. Remove the port.' };
  const name = host.startsWith('*.') ? host.slice(2) : host;
  if (name.includes('*')) {
    return { code: 'host_wildcard', message: 'A wildcard is "*" alone or "*." before a suffix, as in "*.example.com".' };
  }
  if (host.length > limits.hostLength) return { code: 'host_too_long', message: `A host has at most ${limits.hostLength} characters.` };
  return labelsFault(name);
}

function labelsFault(name: string): Fault | undefined {
  for (const label of name.split('.')) {
    if (label === '')
      return { code: 'host_empty_label', message: 'A host has no empty labels: remove the doubled, leading or second trailing dot.' };
    if (label.length > limits.hostLabelLength) {
      return { code: 'host_label_too_long', message: `Each label of a host has at most ${limits.hostLabelLength} characters.` };
    }
    if (!/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(label)) {
      return { code: 'host_label_invalid', message: 'Each label of a host is letters, digits and inner hyphens only.' };
    }
    if (/^..--/.test(label) && !/^xn--[a-z0-9]/.test(label)) {
      return { code: 'host_label_invalid', message: 'A label with "--" in third place must be punycode (xn--…).' };
    }
  }
  return undefined;
}
