import { hostTest, lua, principalTable, quoted } from '#features/gateway/client-check.envoy.js';
import type { ExtensionWithMatcher, LuaFilter } from '#platform/envoy/model/bootstrap.js';
import { NEXT_HEADER, PROOF_HEADER, RESERVED_PREFIX, SHARD_HEADER, SHARD_MARKER_PREFIX } from '#platform/envoy/model/reserved.js';

import { HASH_FACTOR, type Phase } from './phase.js';

/** The scope of the paths that are the gateway's own. */
export const RESERVED_SCOPE = 'reserved';

/** The scope of what is sent to https, and of what is asked for on a connection that may not have it. */
export const REDIRECT_SCOPE = 'redirect';
export const MISDIRECTED_SCOPE = 'misdirected';

/** Scopes that are no shards. */
export const OWN_SCOPES: ReadonlySet<string> = new Set([RESERVED_SCOPE, REDIRECT_SCOPE, MISDIRECTED_SCOPE]);

/** Which requests are not given to the table by the connection that they come over. */
export interface Admission {
  /** Without TLS none is. */
  readonly redirect: boolean;
  /** Hosts (exact, `*.suffix`, `*`) that are for clients whose certificate the listener has checked. */
  readonly demanded: readonly string[];
  /** The fingerprints that such a client's certificate must be one of, with each request; null: the listener's check is all. */
  readonly principals: readonly string[] | null;
}

export const everybody: Admission = { redirect: false, demanded: [], principals: null };

/** What ECDS may bring under that name. */
export const SHARD_FILTER_TYPE: LuaFilter['@type'] = 'type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua';

/** The filter with the phases of a table, by ECDS. */
export const SHARD_FILTER = 'chancery-shard-filter';

/** Under this name routes have the metadata that the filters read. */
export const ROUTE_METADATA = 'chancery';

/** As many filters follow: each goes from one phase to the next, since Envoy tells a Lua filter of one route only. Eight phases can be. */
export const mostTransitions = 7;

/**
 * The filter that finds the shards of a request, one for each phase: the first in the header that is the scope key, the others in the header that
 * the next filters read. What clients say in these headers is overwritten. It knows the node's secret, so that nobody else reaches a shard's marker.
 */
export function shardFilter(phases: readonly Phase[], proofSecret: string, admission: Admission = everybody): LuaFilter {
  const keys = phases.map(({ id, shards, byHost, part }) => {
    const segment = part === 'segment' ? 'segment' : part === 'none' ? '""' : `string.sub(segment, 1, ${part})`;
    const text = byHost ? `host .. "\\n" .. ${segment}` : segment;
    return shards === 1 ? `"${id}.1.0"` : `"${id}.${shards}." .. shard(${text}, ${shards})`;
  });
  const [first = '""', ...others] = keys;
  const table = admission.principals === null ? '' : principalTable(admission.principals);
  return lua(`${table}local function shard(text, shards)
  local x = 5381
  for i = 1, #text do x = (x * ${HASH_FACTOR} + string.byte(text, i)) % 4294967296 end
  return string.format("%d", (x % 65536 + math.floor(x / 65536)) % shards)
end
function envoy_on_request(handle)
  local headers = handle:headers()
  local path = headers:get(":path") or ""
  if string.sub(path, 1, ${RESERVED_PREFIX.length}) == ${quoted(RESERVED_PREFIX)} then
    local key = "${RESERVED_SCOPE}"
    if string.sub(path, 1, ${SHARD_MARKER_PREFIX.length}) == ${quoted(SHARD_MARKER_PREFIX)} and headers:get("${PROOF_HEADER}") == ${quoted(proofSecret)} then
      key = string.sub(path, ${SHARD_MARKER_PREFIX.length + 1})
    end
    headers:replace("${SHARD_HEADER}", key)
    headers:remove("${NEXT_HEADER}")
    return
  end
  local segment = string.match(path, "^/([^/?#]*)") or ""
  local host = string.lower(headers:get(":authority") or "")
${admitted(admission)}  headers:replace("${SHARD_HEADER}", ${first})
  ${others.length === 0 ? `headers:remove("${NEXT_HEADER}")` : `headers:replace("${NEXT_HEADER}", ${others.join(' .. " " .. ')})`}
end
`);
}

/** Sends a request elsewhere than to the table; nothing where everything is admitted. */
function admitted({ redirect, demanded, principals }: Admission): string {
  const send = (scope: string) => `    headers:replace("${SHARD_HEADER}", "${scope}")
    headers:remove("${NEXT_HEADER}")
    return
  end
`;
  const lines = redirect || demanded.length > 0 ? '  local ssl = handle:connection():ssl()\n' : '';
  const redirected = redirect ? `  if ssl == nil then\n${send(REDIRECT_SCOPE)}` : '';
  if (demanded.length === 0) return lines + redirected;
  // Only a chain that checks clients' certificates asks for one, so one that was presented was checked, when the connection was opened.
  const known = principals === null ? 'ssl:peerCertificatePresented()' : 'principals[ssl:sha256PeerCertificateDigest()]';
  return `${lines}${redirected}  if (${hostTest(demanded)}) and (ssl == nil or not ${known}) then
${send(MISDIRECTED_SCOPE)}`;
}

/** Goes on to the next phase when the shard that was asked has no route for the request. */
const transition: LuaFilter = lua(`function envoy_on_request(handle)
  local headers = handle:headers()
  local keys = headers:get("${NEXT_HEADER}")
  if handle:route():metadata():get("miss") == nil then
    headers:remove("${NEXT_HEADER}")
    return
  end
  local space = string.find(keys, " ", 1, true)
  if space == nil then
    headers:remove("${NEXT_HEADER}")
    headers:replace("${SHARD_HEADER}", keys)
  else
    headers:replace("${NEXT_HEADER}", string.sub(keys, space + 1))
    headers:replace("${SHARD_HEADER}", string.sub(keys, 1, space - 1))
  end
end
`);

/** As `transition`, and skipped where no shard is left to ask, which most requests are from the second of these filters on. */
export const transitionFilter: ExtensionWithMatcher = {
  '@type': 'type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher',
  extension_config: { name: ROUTE_METADATA, typed_config: transition },
  xds_matcher: {
    matcher_list: {
      matchers: [
        {
          predicate: {
            not_matcher: {
              single_predicate: {
                input: {
                  name: 'next',
                  typed_config: {
                    '@type': 'type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput',
                    header_name: NEXT_HEADER,
                  },
                },
                // Each key has one.
                value_match: { contains: '.' },
              },
            },
          },
          on_match: {
            action: {
              name: 'skip',
              typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter' },
            },
          },
        },
      ],
    },
  },
};
