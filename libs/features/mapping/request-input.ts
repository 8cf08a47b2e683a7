import { z } from 'zod';

import { readBody } from '#platform/http/body-shape.js';
import type { FieldError } from '#platform/kernel/errors.js';
import { pointerTo } from '#platform/kernel/pointer.js';

import { Faults } from './faults.js';
import type { SentRequest } from './normalised-request.js';

/** The longest URL that is looked at: Envoy's own limit is on all headers together (60 kB), a mapping's path has 2048. */
const MOST = { url: 8_192, headers: 100, name: 256, value: 8_192, all: 61_440 } as const;

export const requestFields = {
  method: z.string().describe('Such as GET; methods are case-sensitive.'),
  url: z.string().describe('http://host:port/path?query, or /path?query for a request without a host that any mapping names.'),
  headers: z
    .record(z.string(), z.union([z.string(), z.array(z.string())]))
    .optional()
    .describe('A list for a header that is sent more than once; host counts before the host of the URL.'),
};

/** The body of `POST /v1/gateways/{gateway}/explain`. */
export const ExplainInput = z.strictObject({
  ...requestFields,
  version: z.int().optional().describe('Asks the routes of this version of the gateway; the newest without it.'),
});

/** @throws DomainError malformed (shape); invalid `url_invalid`, `url_too_long`, `method_invalid`, `header_invalid`, `headers_too_many`. */
export function parseExplain(body: unknown): { readonly request: SentRequest; readonly version: number | undefined } {
  const { version, ...rest } = readBody(ExplainInput, body);
  const faults = new Faults();
  const request = checkRequest(rest, '', faults);
  faults.throwIfAny();
  return { request, version };
}

/** Reads a request; what cannot be sent at all is a fault, at `pointer` and below. What a gateway refuses can be sent. */
export function checkRequest(
  {
    method,
    url,
    headers = {},
  }: { method: string; url: string; headers?: Readonly<Record<string, string | readonly string[]>> | undefined },
  pointer: string,
  faults: Pick<Faults, 'add'>,
): SentRequest {
  const add = (field: string, { code, message }: Pick<FieldError, 'code' | 'message'>) => faults.add(pointer + field, code, message);
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/.test(method))
    add('/method', { code: 'method_invalid', message: 'A method is a word such as GET, without spaces.' });
  if (url.length > MOST.url) add('/url', { code: 'url_too_long', message: `A URL has at most ${MOST.url} characters.` });
  else if (!/^(https?:\/\/[^/?#\s]+|\/)/i.test(url) || /[\p{Cc}\p{Cs} ]/u.test(url))
    add('/url', { code: 'url_invalid', message: 'Write http://host/path, or /path alone; without spaces and control characters.' });
  if (Object.keys(headers).length > MOST.headers)
    add('/headers', { code: 'headers_too_many', message: `A request has at most ${MOST.headers} headers; the gateway refuses more.` });
  const lower: Record<string, string | readonly string[]> = {};
  let size = 0;
  for (const [name, value] of Object.entries(headers)) {
    const fault = headerFault(name, [value].flat(), lower);
    if (fault !== undefined) add(pointerTo('headers', name), fault);
    for (const one of [value].flat()) size += name.length + one.length;
    lower[name.toLowerCase()] = typeof value === 'string' ? value.trim() : value.map((one) => one.trim());
  }
  if (size > MOST.all) add('/headers', { code: 'headers_too_large', message: `All headers together have at most ${MOST.all} characters.` });
  return { method, url, headers: lower };
}

function headerFault(name: string, values: readonly string[], before: object): Pick<FieldError, 'code' | 'message'> | undefined {
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name) || name.length > MOST.name)
    return { code: 'header_invalid', message: 'A header name is letters, digits and hyphens.' };
  if (Object.hasOwn(before, name.toLowerCase()))
    return { code: 'header_duplicate', message: 'This header is given twice in different case; give its values as a list.' };
  if (values.length === 0) return { code: 'header_invalid', message: 'Leave a header out that is not sent.' };
  if (values.some((value) => value.length > MOST.value || /[^\x20-\x7e\t]/.test(value)))
    return { code: 'header_invalid', message: `A header value is printable ASCII of at most ${MOST.value} characters.` };
  return undefined;
}
