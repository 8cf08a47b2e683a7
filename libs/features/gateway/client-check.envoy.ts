import type { DiscoveredFilter, LuaFilter, TypedExtensionConfig } from '#platform/envoy/model/bootstrap.js';
import type { ConfigSource } from '#platform/envoy/model/config-source.js';

import type { ClientCertificates } from './tls-policy.js';

/*
 * Envoy checks a client's certificate when the connection is opened and not again. So that a principal who was removed is refused with the next request,
 * also on a connection that was kept, each request for a host of clients with a certificate is held against the list. The list comes beside the listener,
 * which would close every connection if it changed.
 */

/** The filter of a static configuration, and the file with it. */
export const clientFilter = 'client-principals';

const luaType = 'type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua';

/** The fingerprints that requests are held against, sorted; null where clients are not judged by them. */
export function principalsOf(clients: ClientCertificates | null, fingerprints: Iterable<string>): readonly string[] | null {
  return clients?.principals === true ? [...new Set(fingerprints)].sort() : null;
}

/** A Lua table with them; it is to stand outside of the function, so that it is made once for a worker thread. */
export function principalTable(principals: readonly string[]): string {
  return `local principals = {${principals.map((fingerprint) => `[${quoted(fingerprint)}]=true`).join(',')}}\n`;
}

/** A Lua expression: is `host` (lower case) one of these (exact, `*.suffix`, `*`)? */
export function hostTest(patterns: readonly string[]): string {
  const tests = patterns.map((pattern) => {
    if (pattern === '*') return 'true';
    if (!pattern.startsWith('*.')) return `host == ${quoted(pattern)}`;
    const suffix = pattern.slice(1);
    return `string.sub(host, -${suffix.length}) == ${quoted(suffix)}`;
  });
  return tests.join(' or ');
}

/** The filter where a listener stands in the configuration. */
export function discoveredClientFilter(config_source: ConfigSource): DiscoveredFilter {
  return { name: clientFilter, config_discovery: { config_source, type_urls: [luaType] } };
}

/** What that filter is at the moment. */
export function clientFilterConfig(hosts: readonly string[], principals: readonly string[]): TypedExtensionConfig {
  const source = `${principalTable(principals)}function envoy_on_request(handle)
  local host = string.lower(handle:headers():get(":authority") or "")
  if not (${hostTest([...hosts].sort())}) then return end
  local ssl = handle:connection():ssl()
  if ssl == nil or not principals[ssl:sha256PeerCertificateDigest()] then handle:respond({[":status"] = "421"}, "") end
end
`;
  return { name: clientFilter, typed_config: lua(source) };
}

export function lua(source: string): LuaFilter {
  return { '@type': luaType, default_source_code: { inline_string: source } };
}

/** A text as Lua writes it: every byte that is not a plain letter, digit or mark by its number. */
export function quoted(text: string): string {
  const bytes = [...Buffer.from(text, 'utf8')].map((byte) => {
    const character = String.fromCharCode(byte);
    return /[A-Za-z0-9/._-]/.test(character) ? character : `\\${String(byte).padStart(3, '0')}`;
  });
  return `"${bytes.join('')}"`;
}
