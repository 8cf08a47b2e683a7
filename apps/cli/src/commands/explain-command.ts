import { type Command, InvalidArgumentError } from 'commander';

import { gatewayPath } from '../api-client.js';
import { several, version } from '../option-values.js';
import { printable } from '../output/printable.js';
import { facts, table } from '../output/table.js';
import { addApiCommand, overApi, type Session } from '../session.js';

interface Explanation {
  readonly version: number;
  readonly request: { readonly method: string; readonly host: string; readonly path: string; readonly query: string };
  readonly normalisation: readonly { readonly rule: string; readonly before: string; readonly after: string }[];
  readonly matched: {
    readonly mapping: string;
    readonly rewrittenPath: string;
    readonly service: string;
    readonly upstream: string | null;
    readonly tls: {
      readonly sni: string | null;
      readonly verifiedName: string;
      readonly authorities: readonly string[] | null;
      readonly certificate: string | null;
    } | null;
    readonly timeoutMs: number;
    readonly endpoints: { readonly source: string | null; readonly known: readonly string[]; readonly error: string | null };
    readonly status: { readonly state: string; readonly code: string; readonly reason: string } | null;
  } | null;
  readonly certificate: { readonly name: string; readonly covers: boolean } | null;
  readonly summary: string;
  readonly losers: readonly { readonly mapping: string; readonly rule: string; readonly reason: string }[];
  readonly leftOut: number;
}

/** `explain METHOD URL`: who gets a request, and why the others do not. */
export function addExplainCommand(program: Command): void {
  addApiCommand(program, {
    name: 'explain',
    description: 'which mapping gets a request, and why the others do not; nothing is sent',
    examples: [
      'chancery explain GET http://api.example.com/user/health',
      'chancery explain POST /orders/1 -H "x-canary: 1"',
      'chancery explain GET /user/ --version 11 -o json',
    ],
  })
    .argument('<method>', 'such as GET', (text: string) => text.toUpperCase())
    .argument('<url>', 'http://host/path, or /path for a host that no mapping names')
    .option('-H, --header <name: value>', 'a header of the request; may be given several times', several)
    .option('--version <n>', 'as of this version; the newest without it', version)
    .action(overApi(explain));
}

async function explain(
  { api, gateway, out }: Session,
  method: string,
  url: string,
  flags: { readonly header?: readonly string[]; readonly version?: number },
): Promise<undefined> {
  const body = { method, url, headers: headersOf(flags.header ?? []), ...(flags.version === undefined ? {} : { version: flags.version }) };
  const { body: found } = await api.write<Explanation>('POST', gatewayPath(gateway, 'explain'), { body });
  await out.print(found, () => explanationText(found, out.colours.faint));
  return undefined;
}

/** `name: value` lines as the API takes them. @throws InvalidArgumentError for a line without a colon. */
export function headersOf(lines: readonly string[]): Record<string, string | string[]> {
  const headers = new Map<string, string[]>();
  for (const line of lines) {
    const colon = line.indexOf(':', 1);
    if (colon < 0) throw new InvalidArgumentError(`-H ${JSON.stringify(line)}: write "name: value".`);
    const name = line.slice(0, colon).trim().toLowerCase();
    headers.set(name, [...(headers.get(name) ?? []), line.slice(colon + 1).trim()]);
  }
  return Object.fromEntries([...headers].map(([name, values]) => [name, values.length === 1 ? (values[0] ?? '') : values]));
}

function explanationText(found: Explanation, faint: (text: string) => string): string {
  const { matched, request, normalisation, losers, leftOut } = found;
  const steps = normalisation.map(({ rule, before, after }) => `${rule}: ${before} -> ${after === '' ? '(nothing)' : after}`);
  const known = matched?.endpoints;
  const at =
    known === undefined ? null : known.known.length > 0 ? `${known.known.join(', ')} (${known.source})` : (known.error ?? 'none known');
  const head = facts([
    ['request', `${request.method} ${request.host === '' ? '(no host)' : request.host} ${request.path}${request.query}`],
    ...steps.map((step, i) => [i === 0 ? 'normalised' : '', step] as const),
    ['mapping', matched?.mapping ?? null],
    ['asks', matched === null ? null : `${matched.upstream ?? matched.service} for ${matched.rewrittenPath}`],
    ['endpoints', at],
    ...tlsFacts(matched?.tls ?? null),
    ['timeout', matched === null ? null : `${matched.timeoutMs} ms`],
    ['status', matched?.status == null ? null : `${matched.status.state}: ${matched.status.reason} (${matched.status.code})`],
    ['over TLS', found.certificate === null ? null : certificateText(found.certificate)],
    ['version', found.version],
  ]);
  const columns = [
    { title: 'NOT', text: (one: Explanation['losers'][number]) => one.mapping },
    { title: 'RULE', text: (one: Explanation['losers'][number]) => one.rule },
    { title: 'BECAUSE', text: (one: Explanation['losers'][number]) => one.reason },
  ];
  const others = losers.length === 0 ? '' : `\n${table(losers, columns, faint)}`;
  const rest = leftOut === 0 ? '' : `${faint(`and ${leftOut} more, farther off`)}\n`;
  return `${printable(found.summary)}\n\n${head}${others}${rest}`;
}

function tlsFacts(tls: NonNullable<Explanation['matched']>['tls']): (readonly [string, string | null])[] {
  if (tls === null) return [];
  return [
    ['asks by TLS for', tls.sni ?? '(no name)'],
    [
      'which must be',
      `${tls.verifiedName}, checked against ${tls.authorities === null ? 'the public authorities' : tls.authorities.join('; ')}`,
    ],
    ['and is shown', tls.certificate === null ? null : `the certificate ${tls.certificate}`],
  ];
}

function certificateText({ name, covers }: NonNullable<Explanation['certificate']>): string {
  return covers ? `the certificate ${name}` : `the certificate ${name}, which does not have this host`;
}
