import { RESERVED_HEADER_PREFIX } from '#platform/envoy/model/reserved.js';
import { pointerTo, quoted } from '#platform/kernel/pointer.js';

import type { Faults } from './faults.js';
import { limits } from './limits.js';
import { compareText, type Fault, hasControlCharacter, isPrintableAscii, isWellFormed } from './text.js';

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** The methods that Envoy's HTTP/1 codec lets through, CONNECT aside (a tunnel is no route): any other could never match. */
export const methods: readonly string[] = [
  ...['ACL', 'BIND', 'CHECKOUT', 'COPY', 'DELETE', 'GET', 'HEAD', 'LINK', 'LOCK', 'MERGE', 'MKACTIVITY', 'MKCALENDAR', 'MKCOL', 'MOVE'],
  ...['NOTIFY', 'OPTIONS', 'PATCH', 'POST', 'PROPFIND', 'PROPPATCH', 'PURGE', 'PUT', 'REBIND', 'REPORT', 'SEARCH', 'SOURCE', 'SUBSCRIBE'],
  ...['TRACE', 'UNBIND', 'UNLINK', 'UNLOCK', 'UNSUBSCRIBE'],
];

/** The name of a mapping: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`. */
export function nameFault(name: string): Fault | undefined {
  if (name === '') return { code: 'name_empty', message: 'A mapping needs a name.' };
  if (name.length > limits.nameLength) return { code: 'name_too_long', message: `A name has at most ${limits.nameLength} characters.` };
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) {
    return {
      code: 'name_invalid',
      message: `${quoted(name)}: a name is letters, digits, ".", "_" and "-", and starts with a letter or digit.`,
    };
  }
  return undefined;
}

/** The methods of a mapping, sorted. Faults are added at `/methods/…`. */
export function readMethods(input: readonly string[], faults: Faults): string[] {
  if (input.length > limits.methods)
    faults.add('/methods', 'methods_too_many', `At most ${limits.methods} methods; leave "methods" out for any.`);
  input.forEach((method, i) => {
    const fault = methodFault(method, input.indexOf(method) !== i);
    if (fault !== undefined) faults.add(pointerTo('methods', i), fault.code, fault.message);
  });
  return [...new Set(input)].sort(compareText);
}

function methodFault(method: string, seen: boolean): Fault | undefined {
  if (seen) return { code: 'method_duplicate', message: `${quoted(method)} is named twice; remove one.` };
  if (methods.includes(method)) return undefined;
  if (method === 'CONNECT')
    return { code: 'method_connect', message: 'CONNECT asks for a tunnel, which the gateway does not offer; remove it.' };
  if (method === '*') return { code: 'method_unknown', message: 'Leave "methods" out, or empty, for any method.' };
  if (methods.includes(method.toUpperCase()))
    return { code: 'method_not_upper_case', message: `Methods are case-sensitive: write ${method.toUpperCase()}.` };
  return { code: 'method_unknown', message: `${quoted(method)} is not a method that the gateway lets through: ${methods.join(', ')}.` };
}

/** The header conditions of a mapping, names in lower case. Faults are added at `/headers/…`. */
export function readHeaders(input: ReadonlyMap<string, string>, faults: Faults): Map<string, string> {
  if (input.size > limits.headers) faults.add('/headers', 'headers_too_many', `At most ${limits.headers} headers.`);
  const headers = new Map<string, string>();
  for (const [written, value] of [...input].sort(([a], [b]) => compareText(a, b))) {
    const name = written.toLowerCase();
    const fault = headers.has(name)
      ? { code: 'header_duplicate', message: `${quoted(written)} is named twice in different case; header names ignore case.` }
      : (headerNameFault(name) ?? headerValueFault(value));
    if (fault !== undefined) faults.add(pointerTo('headers', written), fault.code, fault.message);
    headers.set(name, value);
  }
  return headers;
}

/** Set, replaced or removed on the way in (by Envoy as an edge proxy), or about one connection only: a match on them would lie. */
const unmatchable = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'http2-settings', 'expect'],
  ...['x-forwarded-for', 'x-forwarded-proto', 'x-request-id', 'content-length'],
]);

const credentials = new Set(['authorization', 'proxy-authorization', 'cookie', 'x-api-key']);

function headerNameFault(name: string): Fault | undefined {
  if (name === '') return { code: 'header_name_empty', message: 'A header needs a name.' };
  if (name.length > limits.headerNameLength)
    return { code: 'header_name_too_long', message: `A header name has at most ${limits.headerNameLength} characters.` };
  if (name.startsWith(':'))
    return { code: 'header_name_pseudo', message: `${quoted(name)} is a pseudo-header; use host, prefix, path or methods.` };
  if (!token.test(name))
    return {
      code: 'header_name_invalid',
      message: `${quoted(name)} is not a header name (RFC 9110: letters, digits and !#$%&'*+-.^_\`|~).`,
    };
  if (name === 'host') return { code: 'header_name_host', message: 'Use "host" of the mapping, beside "headers".' };
  if (name.includes('_'))
    return { code: 'header_name_underscore', message: 'The gateway refuses requests with "_" in a header name; use "-".' };
  if (name.startsWith('x-envoy-'))
    return { code: 'header_name_reserved', message: 'x-envoy-* is removed from requests at the edge, so it could never match.' };
  if (name.startsWith(RESERVED_HEADER_PREFIX))
    return { code: 'header_name_reserved', message: 'x-chancery-* is reserved for the gateway.' };
  if (unmatchable.has(name))
    return { code: 'header_name_unmatchable', message: `${name} is set or used up by the gateway itself; choose another header.` };
  if (credentials.has(name))
    return {
      code: 'header_name_credential',
      message: `${name} carries a credential, which must not enter the history; choose another header.`,
    };
  return undefined;
}

function headerValueFault(value: string): Fault | undefined {
  if (value === '') return { code: 'header_value_empty', message: 'The value is empty; name the exact value that a request must have.' };
  if (value.length > limits.headerValueLength) {
    return { code: 'header_value_too_long', message: `A header value has at most ${limits.headerValueLength} characters.` };
  }
  if (hasControlCharacter(value))
    return { code: 'header_value_control_character', message: 'The value holds a control character (such as a line break); remove it.' };
  if (!isPrintableAscii(value)) return { code: 'header_value_not_ascii', message: 'A header value is printable ASCII.' };
  if (value.trim() !== value)
    return { code: 'header_value_space', message: 'White space around a header value is cut off in requests; remove it.' };
  return undefined;
}

/** The labels of a mapping. Faults are added at `/labels/…`. */
export function readLabels(input: ReadonlyMap<string, string>, faults: Faults): Map<string, string> {
  if (input.size > limits.labels) faults.add('/labels', 'labels_too_many', `At most ${limits.labels} labels.`);
  for (const [key, value] of input) {
    const fault = labelFault(key, value);
    if (fault !== undefined) faults.add(pointerTo('labels', key), fault.code, fault.message);
  }
  return new Map([...input].sort(([a], [b]) => compareText(a, b)));
}

function labelFault(key: string, value: string): Fault | undefined {
  if (key.length > limits.labelKeyLength)
    return { code: 'label_key_too_long', message: `A label's key has at most ${limits.labelKeyLength} characters.` };
  if (!/^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$/.test(key)) {
    return {
      code: 'label_key_invalid',
      message: 'A label\'s key is letters, digits, ".", "_", "/" and "-", and starts and ends with a letter or digit.',
    };
  }
  if (value.length > limits.labelValueLength)
    return { code: 'label_value_too_long', message: `A label's value has at most ${limits.labelValueLength} characters.` };
  if (hasControlCharacter(value)) return { code: 'label_value_control_character', message: "A label's value holds no control characters." };
  if (!isWellFormed(value))
    return { code: 'label_value_not_text', message: 'The value holds half of a surrogate pair; send well-formed Unicode.' };
  return undefined;
}
