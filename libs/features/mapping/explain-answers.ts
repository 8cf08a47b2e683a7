import { z } from 'zod';

import { isoTime } from '#platform/http/answer-schemas.js';

import { losingReason } from './explanation.js';
import type { Explanation } from './read-explanation.js';
import { rewrittenPath } from './route-matcher.js';
import { type RouteRow, upstreamOf } from './route-table.js';
import { spokenTls } from './spoken-tls.js';

const rowFields = {
  mapping: z.string(),
  host: z.string(),
  match: z.object({ kind: z.enum(['path', 'prefix']), value: z.string() }),
  methods: z.array(z.string()),
  headers: z.record(z.string(), z.string()),
  precedence: z.int(),
};

const upstreamTlsSchema = z
  .object({
    sni: z.string().nullable().describe('The name in the handshake; null for a service that is an address.'),
    verifiedName: z.string().describe("What the service's certificate must have."),
    authorities: z.array(z.string()).nullable().describe('The subjects of those that it is checked against; null: the public ones.'),
    certificate: z.string().nullable().describe('The certificate of the gateway that is shown to the service.'),
  })
  .nullable()
  .describe('How the service is spoken to; null: without TLS.');

export const explanationSchema = z.object({
  version: z.int().describe('The version of the gateway whose routes were asked.'),
  request: z
    .object({ method: z.string(), host: z.string(), path: z.string(), query: z.string() })
    .describe('What the mappings are asked about, after the gateway has normalised it.'),
  normalisation: z.array(z.object({ rule: z.string(), before: z.string(), after: z.string() })),
  answered: z
    .object({ status: z.int(), code: z.string(), message: z.string() })
    .nullable()
    .describe('What the gateway answers by itself, without asking any mapping; null when it asks them.'),
  matched: z
    .object({
      ...rowFields,
      service: z.string(),
      upstream: z.string().nullable(),
      tls: upstreamTlsSchema,
      rewrittenPath: z.string().describe('What the upstream is asked for, with its query.'),
      timeoutMs: z.int(),
      endpoints: z.object({ source: z.string().nullable(), known: z.array(z.string()), error: z.string().nullable() }),
      status: z
        .object({ state: z.string(), code: z.string(), reason: z.string(), since: isoTime })
        .nullable()
        .describe('set_aside or unresolved: it answers 503. Null when there is nothing to say.'),
    })
    .nullable(),
  certificate: z
    .object({
      name: z.string(),
      covers: z.boolean().describe('False: it is the one for names that none has, and clients will not believe it.'),
    })
    .nullable()
    .describe('What a client gets that asks for the host over TLS, wherever TLS is taken, as certificates are now; null: there is none.'),
  summary: z.string().describe('The same in a sentence.'),
  losers: z
    .array(z.object({ ...rowFields, rule: z.string(), reason: z.string() }))
    .describe('The mappings that came nearest, nearest first: at most 20.'),
  leftOut: z.int().describe('How many more there are.'),
  losersByRule: z.record(z.string(), z.int()).describe('All of them, by the rule that decided.'),
});

/** An explanation as it is answered. */
export function explanationAnswer(explanation: Explanation): z.infer<typeof explanationSchema> {
  const { version, normalised, winner, losers, standing, certificate } = explanation;
  const { request, query, steps, answered } = normalised;
  return {
    version,
    request: { method: request.method, host: request.host, path: request.path, query },
    normalisation: [...steps],
    answered: answered ?? null,
    matched:
      winner === undefined || standing === undefined
        ? null
        : {
            ...shown(winner),
            service: winner.service,
            upstream: upstreamOf(winner),
            tls: tlsAnswer(winner),
            rewrittenPath: rewrittenPath(winner, request.path) + query,
            timeoutMs: winner.timeoutMs,
            endpoints: { source: standing.upstream.source, known: [...standing.upstream.endpoints], error: standing.upstream.error },
            status: standing.status,
          },
    certificate,
    summary: summary(explanation),
    losers: losers.nearest.map((loser) => ({ ...shown(loser.row), rule: loser.rule, reason: losingReason(loser, request, winner) })),
    leftOut: losers.leftOut,
    losersByRule: { ...losers.byRule },
  };
}

function tlsAnswer(row: RouteRow) {
  const tls = spokenTls(row);
  return tls === undefined ? null : { ...tls, authorities: tls.authorities === null ? null : [...tls.authorities] };
}

function shown({ mapping, host, match, methods, headers, precedence }: RouteRow) {
  return { mapping, host, match, methods: [...methods], headers: { ...headers }, precedence };
}

function summary({ normalised: { request, query, answered }, winner, losers, standing }: Explanation): string {
  if (answered !== undefined) return `The gateway answers ${answered.status} by itself: ${answered.message}`;
  if (winner !== undefined) {
    const aside = standing?.status?.state === 'set_aside' ? ` It is set aside and answers 503: ${standing.status.reason}` : '';
    return `${winner.mapping} gets it, and asks ${upstreamOf(winner) ?? winner.service} for ${rewrittenPath(winner, request.path)}${query}.${aside}`;
  }
  const [nearest] = losers.nearest;
  if (nearest === undefined) return 'No mapping matches, since there is none: 404.';
  return `No mapping matches: 404. The nearest is ${nearest.row.mapping}: ${losingReason(nearest, request, undefined)}`;
}
