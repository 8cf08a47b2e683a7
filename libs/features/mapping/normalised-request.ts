import { RESERVED_PREFIX } from '#platform/envoy/model/reserved.js';

import { methods } from './mapping-fields.js';
import { type BareRequest, normalisedHost } from './route-matcher.js';

/** A request as its sender would write it. */
export interface SentRequest {
  readonly method: string;
  /** `http://host:port/path?query`, or the target alone, `/path?query`. */
  readonly url: string;
  /** Lower-case names; `host` counts before the host of the URL. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
}

/** One thing that the gateway does to a request before any mapping is asked. */
export interface NormalisationStep {
  readonly rule: 'host_case' | 'host_port' | 'host_trailing_dot' | 'query' | 'dot_segments' | 'escapes' | 'merge_slashes';
  readonly before: string;
  readonly after: string;
}

/** What the gateway answers by itself. */
export interface OwnAnswer {
  readonly status: 400 | 404;
  readonly code: string;
  readonly message: string;
}

export interface NormalisedRequest {
  readonly request: BareRequest;
  /** With its `?`; '' for none. */
  readonly query: string;
  readonly steps: readonly NormalisationStep[];
  /** Set when no mapping is asked at all. */
  readonly answered: OwnAnswer | undefined;
}

/**
 * What the gateway makes of a request before it asks the mappings, as Envoy 1.40 was seen to do it with the settings of every render: the port and one
 * trailing dot of the host go, dot segments go, escapes of unreserved characters are decoded, doubled slashes become one; an escaped slash is refused.
 */
export function normaliseRequest(sent: SentRequest): NormalisedRequest {
  const { authority, target } = splitUrl(sent.url);
  const given = sent.headers.host;
  const host = (typeof given === 'string' ? given : given?.[0]) ?? authority;
  const steps: NormalisationStep[] = [];
  const step = (rule: NormalisationStep['rule'], before: string, after: string): string => {
    if (before !== after) steps.push({ rule, before, after });
    return after;
  };
  const cased = step('host_case', host, host.toLowerCase());
  const portless = step('host_port', cased, cased.replace(/:\d+$/, ''));
  step('host_trailing_dot', portless, normalisedHost(host));
  const cut = target.search(/\?/);
  const query = cut < 0 ? '' : target.slice(cut);
  const bare = step('query', target, cut < 0 ? target : target.slice(0, cut));
  const refused = refusal(sent, bare, target);
  const dotless = refused === undefined ? step('dot_segments', bare, withoutDotSegments(bare)) : bare;
  const decoded = refused === undefined ? step('escapes', dotless, canonicalEscapes(dotless)) : dotless;
  const path = refused === undefined ? step('merge_slashes', decoded, mergedSlashes(decoded)) : decoded;
  const { host: _host, ...headers } = sent.headers;
  return {
    request: { host: normalisedHost(host), path, method: sent.method, headers },
    query,
    steps,
    answered: refused ?? reserved(path),
  };
}

function splitUrl(url: string): { authority: string; target: string } {
  const [, authority, target] = /^https?:\/\/([^/?#]*)(.*)$/is.exec(url) ?? [];
  if (authority === undefined || target === undefined) return { authority: '', target: url };
  return { authority: authority.slice(authority.lastIndexOf('@') + 1), target: target.startsWith('/') ? target : `/${target}` };
}

function refusal(sent: SentRequest, path: string, target: string): OwnAnswer | undefined {
  const no = (code: string, message: string): OwnAnswer => ({ status: 400, code, message });
  if (!methods.includes(sent.method))
    return no('method_unknown', `The gateway does not let the method ${sent.method.slice(0, 32)} through.`);
  const underscored = Object.keys(sent.headers).find((name) => name.includes('_'));
  if (underscored !== undefined)
    return no('header_underscore', `The gateway refuses requests with "_" in a header name: ${underscored.slice(0, 128)}.`);
  if (!target.startsWith('/')) return no('path_not_absolute', 'The gateway refuses a path that does not start with "/".');
  if (target.includes('#')) return no('path_has_fragment', 'A fragment never belongs to a request; the gateway refuses it.');
  if (/[^\x21-\x7e]/.test(target)) return no('path_not_ascii', 'The gateway refuses what is not visible ASCII in a path.');
  if (/%(2f|5c)/i.test(path))
    return no('escaped_slash', 'The gateway refuses an escaped slash or backslash (%2F, %5C): services disagree on what it means.');
  if (/%00/.test(path)) return no('escaped_nul', 'The gateway refuses an escaped NUL (%00).');
  return undefined;
}

function reserved(path: string): OwnAnswer | undefined {
  if (!path.startsWith(RESERVED_PREFIX)) return undefined;
  return { status: 404, code: 'path_reserved', message: `${RESERVED_PREFIX} is the gateway's own; no mapping is asked.` };
}

/** RFC 3986's, with a backslash for a slash; what follows a bare dot segment after ";" goes with it. */
function withoutDotSegments(path: string): string {
  if (!/[\\]|[/\\](\.|%2e)/i.test(path)) return path;
  const segments = path
    .replace(/([/\\]\.{1,2});[^/]*/g, '$1')
    .split(/[/\\]/)
    .slice(1);
  const kept: string[] = [];
  segments.forEach((segment, i) => {
    const isLast = i === segments.length - 1;
    const isUp = /^(\.|%2e){2}$/i.test(segment);
    if (isUp) kept.pop();
    if (!isUp && !/^(\.|%2e)$/i.test(segment)) kept.push(segment);
    else if (isLast) kept.push('');
  });
  return `/${kept.join('/')}`;
}

/** Escapes of unreserved characters are decoded; characters that a URL cannot hold are escaped. */
function canonicalEscapes(path: string): string {
  return path
    .replace(/%[0-9a-f]{2}/gi, (escaped) => {
      const character = String.fromCharCode(Number.parseInt(escaped.slice(1), 16));
      return /[A-Za-z0-9._~-]/.test(character) ? character : escaped;
    })
    .replace(/["<>^`{|}]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** As Envoy does it: slashes alone become two, everything else has none doubled. */
function mergedSlashes(path: string): string {
  if (!path.includes('//')) return path;
  const segments = path.split('/').filter((segment) => segment !== '');
  return `/${segments.join('/')}${path.endsWith('/') ? '/' : ''}`;
}
