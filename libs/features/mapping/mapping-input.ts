import { z } from 'zod';
import type { UpstreamPolicy } from '#platform/envoy/model/upstream-address.js';
import { readBody } from '#platform/http/body-shape.js';
import { DomainError } from '#platform/kernel/errors.js';
import { canonicalJson } from '#platform/kernel/json.js';
import { Faults } from './faults.js';
import { parseHost } from './host.js';
import { limits } from './limits.js';
import { nameFault, readHeaders, readLabels, readMethods } from './mapping-fields.js';
import { pathFault } from './request-path.js';
import { readService, upstreamFault } from './service-reference.js';
import { isFault } from './text.js';
import { readUpstreamTls, type UpstreamTls } from './upstream-tls.js';

const texts = z.record(z.string(), z.string());

const tls = z.strictObject({
  sni: z.string().nullable().describe("The name that is asked for and checked. Default: the service's.").optional(),
  caBundle: z.string().nullable().describe('PEM of the authorities that it is checked against. Default: the public ones.').optional(),
  certificate: z.string().nullable().describe('The certificate of this gateway that is shown to it. Default: none.').optional(),
});

const fields = {
  host: z.string().describe('"*", an exact name, or "*." before a suffix. Default: any host.').optional(),
  prefix: z.string().nullable().describe('Matches every path that starts with it. Exactly one of prefix and path.').optional(),
  path: z.string().nullable().describe('Matches this path only. Exactly one of prefix and path.').optional(),
  service: z.string().describe('[http://|https://]name[.namespace][:port]'),
  rewrite: z.string().describe('Takes the place of the matched prefix or path. Default: "/".').optional(),
  methods: z.array(z.string()).describe('Upper case; empty or left out for any.').optional(),
  headers: texts.describe('Exact values; a request must have all of them.').optional(),
  precedence: z.int().describe('Higher is asked first among the mappings of one host. Default: 0.').optional(),
  timeoutMs: z.int().describe("Milliseconds. Default: the gateway's defaultTimeoutMs.").optional(),
  labels: texts.describe('For people and filters; no effect on routing.').optional(),
  tls: tls.nullable().describe('How an https:// service is spoken to.').optional(),
};

/** The body of `POST /v1/gateways/{gateway}/mappings`. */
export const MappingCreateInput = z.strictObject({ name: z.string(), ...fields });

/** The body of `PUT /v1/gateways/{gateway}/mappings/{name}`; a name, if given, must be the one of the URL. */
export const MappingReplaceInput = z.strictObject({ name: z.string().optional(), ...fields });

/** The body of `PATCH /v1/gateways/{gateway}/mappings/{name}` (RFC 7396): null takes a field back to its default. */
export const MappingPatch = z.strictObject({
  name: z.string().optional(),
  host: z.string().nullable().optional(),
  prefix: z.string().nullable().optional(),
  path: z.string().nullable().optional(),
  service: z.string().optional(),
  rewrite: z.string().nullable().optional(),
  methods: z.array(z.string()).nullable().optional(),
  headers: z.record(z.string(), z.string().nullable()).nullable().optional(),
  precedence: z.int().nullable().optional(),
  timeoutMs: z.int().nullable().optional(),
  labels: z.record(z.string(), z.string().nullable()).nullable().optional(),
  tls: tls.nullable().optional(),
});
export type MappingPatch = z.infer<typeof MappingPatch>;

/** The body of `POST /ambassador/mapping/{name}`. */
export const AmbassadorMappingInput = z.strictObject({ prefix: z.string(), service: z.string(), rewrite: z.string().optional() });

type MappingBody = z.infer<typeof MappingReplaceInput>;

/** A mapping as somebody wants it: checked and normalised; only the gateway's default timeout is still open. */
export interface MappingInput {
  readonly name: string;
  readonly host: string;
  readonly prefix: string | null;
  readonly path: string | null;
  readonly service: string;
  readonly rewrite: string;
  readonly methods: readonly string[];
  readonly headers: Readonly<Record<string, string>>;
  readonly precedence: number;
  /** undefined: the gateway's default. */
  readonly timeoutMs: number | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly tls?: UpstreamTls | undefined;
}

/**
 * Reads the body of a create: shape first (400 `malformed`), then meaning (422 `invalid`), every fault with its pointer.
 * Whether the upstream may be reached depends on the gateway's settings and is decided with the command.
 */
export function parseMappingCreate(body: unknown): MappingInput {
  const read = readBody(MappingCreateInput, body);
  return checkMapping(read.name, read);
}

/** As `parseMappingCreate`, for the mapping that the URL names. */
export function parseMappingReplace(name: string, body: unknown): MappingInput {
  const read = readBody(MappingReplaceInput, body);
  checkName(name);
  if (read.name !== undefined && read.name !== name) throw renamed(read.name, name);
  return checkMapping(name, read);
}

/** Reads a merge patch: its shape only; the merged whole is checked with the command, where the present state is known. */
export function parseMappingPatch(name: string, body: unknown): MappingPatch {
  const patch = readBody(MappingPatch, body);
  checkName(name);
  if (patch.name !== undefined && patch.name !== name) throw renamed(patch.name, name);
  return patch;
}

/** The original's body; everything that it cannot say has its default. */
export function parseAmbassadorMapping(name: string, body: unknown): MappingInput {
  const read = readBody(AmbassadorMappingInput, body);
  checkName(name);
  return checkMapping(name, read);
}

/** @throws DomainError `invalid` when no mapping can have this name (which stands in the URL, so the pointer is ''). */
export function checkName(name: string): void {
  const fault = nameFault(name);
  if (fault !== undefined) throw new DomainError('invalid', fault.code, fault.message, { errors: [{ pointer: '', ...fault }] });
}

function renamed(given: string, name: string): DomainError {
  const message = `The body names "${given.slice(0, 64)}" and the URL "${name}". A mapping keeps its name: create a new one and delete the old.`;
  return new DomainError('invalid', 'name_immutable', message, { errors: [{ pointer: '/name', code: 'name_immutable', message }] });
}

/** Checks what a well-shaped body means. @throws DomainError `invalid` with every fault. */
export function checkMapping(name: string, body: MappingBody): MappingInput {
  const faults = new Faults();
  const named = nameFault(name);
  if (named !== undefined) faults.add('/name', named.code, named.message);
  const host = parseHost(body.host ?? '*');
  if (isFault(host)) faults.add('/host', host.code, host.message);
  checkPaths(body, faults);
  const service = readService(body.service);
  if (isFault(service)) faults.add('/service', service.code, service.message);
  checkNumbers(body, faults);
  const upstreamTls = readUpstreamTls(body.tls, body.service, faults);
  const input: MappingInput = {
    name,
    host: isFault(host) ? '*' : host.host,
    prefix: body.prefix ?? null,
    path: body.path ?? null,
    service: body.service,
    rewrite: body.rewrite ?? '/',
    methods: readMethods(body.methods ?? [], faults),
    headers: Object.fromEntries(readHeaders(new Map(Object.entries(body.headers ?? {})), faults)),
    precedence: body.precedence ?? 0,
    timeoutMs: body.timeoutMs,
    labels: Object.fromEntries(readLabels(new Map(Object.entries(body.labels ?? {})), faults)),
    ...(upstreamTls === undefined ? {} : { tls: upstreamTls }),
  };
  if (!faults.any && isTooLarge(input)) {
    faults.add('', 'mapping_too_large', `A mapping has at most ${limits.stateBytes} bytes; shorten its headers or labels.`);
  }
  faults.throwIfAny();
  return input;
}

/** Most are so short that they could not be too large however they are written: a character of text is at most six bytes of JSON. */
function isTooLarge(input: MappingInput): boolean {
  const { name, host, prefix, path, service, rewrite, methods, headers, labels } = input;
  let characters = name.length + host.length + (prefix ?? '').length + (path ?? '').length + service.length + rewrite.length + 100;
  for (const method of methods) characters += method.length + 1;
  for (const texts of [headers, labels]) for (const key in texts) characters += key.length + (texts[key] ?? '').length + 1;
  return 6 * characters > limits.stateBytes && Buffer.byteLength(canonicalJson(input)) > limits.stateBytes;
}

function checkPaths(body: MappingBody, faults: Faults): void {
  const [prefix, path] = [body.prefix ?? undefined, body.path ?? undefined];
  if (prefix === undefined && path === undefined)
    faults.add('/prefix', 'prefix_or_path_missing', 'Give "prefix" (every path below it) or "path" (this one only).');
  if (prefix !== undefined && path !== undefined)
    faults.add('/path', 'prefix_and_path', 'Give "prefix" or "path", not both; in a patch set the other to null.');
  for (const [pointer, text, role] of [
    ['/prefix', prefix, 'match'],
    ['/path', path, 'match'],
    ['/rewrite', body.rewrite, 'rewrite'],
  ] as const) {
    const fault = text === undefined ? undefined : pathFault(text, role);
    if (fault !== undefined) faults.add(pointer, fault.code, fault.message);
  }
}

function checkNumbers(body: MappingBody, faults: Faults): void {
  const { precedence, timeoutMs } = body;
  if (precedence !== undefined && (precedence < limits.precedenceMin || precedence > limits.precedenceMax)) {
    faults.add('/precedence', 'precedence_out_of_range', `A precedence is from ${limits.precedenceMin} to ${limits.precedenceMax}.`);
  }
  if (timeoutMs !== undefined && (timeoutMs < limits.timeoutMinMs || timeoutMs > limits.timeoutMaxMs)) {
    const message = `A timeout is from ${limits.timeoutMinMs} to ${limits.timeoutMaxMs} ms (an hour); leave it out for the gateway's default.`;
    faults.add('/timeoutMs', 'timeout_out_of_range', message);
  }
}

/** Refuses an upstream that this gateway does not allow. @throws DomainError `invalid` at `/service`. */
export function checkUpstream(service: string, policy: UpstreamPolicy): void {
  const reference = readService(service);
  const fault = isFault(reference) ? reference : upstreamFault(reference, policy);
  if (fault !== undefined) throw new DomainError('invalid', fault.code, fault.message, { errors: [{ pointer: '/service', ...fault }] });
}
