import type { Command } from 'commander';

import { gatewayPath } from '../api-client.js';
import { paintState } from '../output/colours.js';
import { facts, table } from '../output/table.js';
import { readPages } from '../pages.js';
import { ApiRefusal } from '../problem-report.js';
import { addApiCommand, overApi, type Session } from '../session.js';

interface Gateway {
  readonly name: string;
  readonly version: number;
  readonly hash: string;
}

interface Target {
  readonly name: string;
  readonly state: string;
  readonly desiredVersion: number;
  readonly appliedVersion: number;
  readonly provenVersion: number;
  readonly envoyVersion: string;
  readonly connected: boolean;
  readonly error: string;
}

interface Confirmation {
  readonly version: number;
  readonly deadline: string;
  readonly state: string;
}

interface Mapping {
  readonly name: string;
  readonly status: { readonly state: string; readonly reasons: readonly { readonly code: string; readonly message: string }[] };
}

interface Certificate {
  readonly name: string;
  readonly state: 'valid' | 'expiring' | 'expired';
  readonly daysLeft: number;
  readonly expiresAt: string;
  readonly problem: { readonly code: string; readonly message: string } | null;
}

interface Readiness {
  readonly status: string;
  readonly checks?: readonly { readonly name: string; readonly ok: boolean; readonly detail: string }[];
}

const MOST_MAPPINGS = 100;
const MOST_CERTIFICATES = 1000;

/** `status`: how a gateway stands, on one page. */
export function addStatusCommand(program: Command): void {
  addApiCommand(program, {
    name: 'status',
    description:
      'how the gateway stands: versions, targets, open confirmations, mappings that are set aside, certificates that end or cannot be served, and how far reading is behind',
    examples: ['chancery status', 'chancery status --gateway staging -o json'],
  }).action(overApi(status));
}

async function status(session: Session): Promise<undefined> {
  const { api, gateway, out } = session;
  const path = (...steps: string[]) => gatewayPath(gateway, ...steps);
  const ofState = (state: string) => readPages<Mapping>(api, path('mappings'), { query: { status: state }, limit: MOST_MAPPINGS });
  const [one, gateways, targets, confirmations, setAside, unresolved, certificates, readiness] = await Promise.all([
    api.get<Gateway>(path()),
    api.get<{ items: Gateway[] }>('/v1/gateways'),
    api.get<{ items: Target[] }>(path('targets')),
    api.get<{ items: Confirmation[] }>(path('confirmations')),
    ofState('set_aside'),
    ofState('unresolved'),
    readPages<Certificate>(api, path('certificates'), { limit: MOST_CERTIFICATES }),
    readReadiness(session),
  ]);
  const open = confirmations.body.items.filter(({ state }) => state === 'open');
  const { name, version, hash } = one.body;
  const answer = {
    gateway: { name, version, hash },
    gateways: gateways.body.items,
    targets: targets.body.items,
    openConfirmations: open,
    setAside: setAside.items,
    unresolved: unresolved.items,
    expiring: certificates.items.filter(({ state }) => state !== 'valid'),
    unserved: certificates.items.filter(({ problem }) => problem !== null),
    api: { url: api.connection.url, ...readiness },
  };
  await out.print(answer, () => statusText(answer, session));
  return undefined;
}

/** `/readyz` answers 503 with its checks when something is not right, and that is an answer too. */
async function readReadiness({ api }: Session): Promise<Readiness> {
  try {
    return (await api.get<Readiness>('/readyz', { query: { verbose: true } })).body;
  } catch (error) {
    if (error instanceof ApiRefusal && 'checks' in error.problem) return error.problem as unknown as Readiness;
    throw error;
  }
}

interface Answer {
  readonly gateway: Gateway;
  readonly gateways: readonly Gateway[];
  readonly targets: readonly Target[];
  readonly openConfirmations: readonly Confirmation[];
  readonly setAside: readonly Mapping[];
  readonly unresolved: readonly Mapping[];
  readonly expiring: readonly Certificate[];
  readonly unserved: readonly Certificate[];
  readonly api: Readiness & { readonly url: string };
}

function statusText(
  { gateway, gateways, targets, openConfirmations, setAside, unresolved, expiring, unserved, api }: Answer,
  { out }: Session,
): string {
  const { colours } = out;
  const projection = api.checks?.find(({ name }) => name === 'projection');
  const failing = api.checks?.filter(({ ok }) => !ok) ?? [];
  const others = gateways.filter(({ name }) => name !== gateway.name).map(({ name, version }) => `${name} (${version})`);
  const head = facts([
    ['gateway', gateway.name],
    ['version', gateway.version],
    ['hash', gateway.hash],
    ['API', `${api.url}: ${api.status}`],
    ...failing.map(({ name, detail }) => [name, detail] as const),
    ['lag', projection?.detail],
    ['others', others.join(', ')],
  ]);
  const section = (title: string, text: string) => `\n${colours.strong(title)}\n${text}`;
  const shownTargets = targets.length === 0 ? 'None: no Envoy has enrolled.\n' : targetTable(targets, out);
  const mappings = (rows: readonly Mapping[]) => mappingTable(rows, out);
  return [
    head,
    section('Targets', shownTargets),
    openConfirmations.length === 0 ? '' : section('To be confirmed, or they are undone', confirmationTable(openConfirmations, out)),
    setAside.length === 0 ? '' : section('Set aside: Envoy refuses them, and they answer 503', mappings(setAside)),
    unresolved.length === 0 ? '' : section('Unresolved: no instance of their service is known', mappings(unresolved)),
    expiring.length === 0 ? '' : section('Certificates that end within 30 days, or have', certificateTable(expiring, out)),
    unserved.length === 0 ? '' : section('Certificates that are not served as they are', problemTable(unserved, out)),
  ].join('');
}

function targetTable(targets: readonly Target[], { colours }: Session['out']): string {
  return table(
    targets,
    [
      { title: 'TARGET', text: (one) => one.name },
      { title: 'STATE', text: (one) => one.state, paint: (text) => paintState(colours, text) },
      { title: 'DESIRED', text: (one) => one.desiredVersion, align: 'right' },
      { title: 'APPLIED', text: (one) => one.appliedVersion, align: 'right' },
      {
        title: 'PROVEN',
        text: (one) => one.provenVersion,
        align: 'right',
        paint: (text, one) => (one.provenVersion < one.desiredVersion ? colours.doubtful(text) : colours.good(text)),
      },
      { title: 'CONNECTED', text: (one) => (one.connected ? 'yes' : 'no'), paint: (text) => paintState(colours, text) },
      { title: 'ENVOY', text: (one) => one.envoyVersion },
      { title: 'ERROR', text: (one) => one.error },
    ],
    colours.faint,
  );
}

function confirmationTable(confirmations: readonly Confirmation[], { colours }: Session['out']): string {
  return table(
    confirmations,
    [
      { title: 'VERSION', text: (one) => one.version, align: 'right' },
      { title: 'UNTIL', text: (one) => one.deadline },
      { title: 'CONFIRM WITH', text: (one) => `chancery confirm ${one.version}` },
    ],
    colours.faint,
  );
}

function certificateTable(certificates: readonly Certificate[], { colours }: Session['out']): string {
  return table(
    certificates,
    [
      { title: 'CERTIFICATE', text: (one) => one.name },
      {
        title: 'STATE',
        text: (one) => one.state,
        paint: (text, one) => (one.state === 'expired' ? colours.bad(text) : colours.doubtful(text)),
      },
      { title: 'DAYS', text: (one) => one.daysLeft, align: 'right' },
      { title: 'EXPIRES', text: (one) => one.expiresAt },
    ],
    colours.faint,
  );
}

function problemTable(certificates: readonly Certificate[], { colours }: Session['out']): string {
  return table(
    certificates,
    [
      { title: 'CERTIFICATE', text: (one) => one.name },
      { title: 'CODE', text: (one) => one.problem?.code },
      { title: 'REASON', text: (one) => one.problem?.message },
    ],
    colours.faint,
  );
}

function mappingTable(mappings: readonly Mapping[], { colours }: Session['out']): string {
  return table(
    mappings,
    [
      { title: 'MAPPING', text: (one) => one.name },
      { title: 'CODE', text: (one) => one.status.reasons[0]?.code },
      { title: 'REASON', text: (one) => one.status.reasons[0]?.message },
    ],
    colours.faint,
  );
}
