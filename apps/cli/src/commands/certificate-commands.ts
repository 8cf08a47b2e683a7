import { readFileSync, statSync } from 'node:fs';
import type { Command } from 'commander';

import { gatewayPath } from '../api-client.js';
import { count } from '../option-values.js';
import { valueText, warningsText } from '../output/changes.js';
import { facts, table } from '../output/table.js';
import { readPages } from '../pages.js';
import { addApiCommand, addGroup, overApi, type Session } from '../session.js';
import { UsageError } from '../usage-error.js';
import {
  addConfirmWithin,
  addDryRun,
  addIfVersion,
  addReason,
  afterwards,
  type Plan,
  planText,
  type WriteFlags,
  writeQuery,
} from '../write-options.js';

interface Certificate {
  readonly name: string;
  readonly fingerprint: string;
  readonly subject: string;
  readonly issuer: string;
  readonly sans: { readonly dns: readonly string[]; readonly ip: readonly string[] };
  readonly keyAlgorithm: string;
  readonly source: string;
  readonly expiresAt: string;
  readonly daysLeft: number;
  readonly state: 'valid' | 'expiring' | 'expired';
  readonly version: number;
  readonly gatewayVersion: number;
  readonly usedBy: readonly string[];
  readonly serves: { readonly hosts: readonly { readonly host: string; readonly mappingCount: number }[]; readonly hostCount: number };
  readonly live: readonly { readonly target: string; readonly current: boolean }[];
  readonly pending: readonly string[];
  readonly problem: { readonly code: string; readonly message: string; readonly since: string } | null;
  readonly certificateChain?: string;
}

interface Written extends Certificate {
  readonly unchanged: boolean;
  readonly warnings: readonly { code: string; message: string; pointer?: string }[];
}

/** A chain and its key, together, are at most the 64 KiB that the API takes. */
const MOST_BYTES = 64 * 1024;

/** `cert ...`: what a gateway serves TLS with. */
export function addCertificateCommands(program: Command): void {
  const group = addGroup(program, {
    name: 'cert',
    description: 'certificates with their keys, which are kept encrypted and never shown: push, list, show, remove',
    examples: ['chancery cert push edge fullchain.pem privkey.pem', 'chancery cert list'],
  });
  const push = addApiCommand(group, {
    name: 'push',
    description: 'set a certificate with its key, or exchange the one of this name; the same ones again change nothing',
    examples: [
      'chancery cert push edge /etc/letsencrypt/live/edge/fullchain.pem /etc/letsencrypt/live/edge/privkey.pem',
      'chancery cert push edge fullchain.pem privkey.pem --dry-run',
    ],
  })
    .argument('<name>', 'its name')
    .argument('<chain>', 'a file with the certificate and those that vouch for it, PEM')
    .argument('<key>', 'a file with its private key, PEM, without a passphrase');
  writing(addConfirmWithin(push)).action(overApi(put));
  addApiCommand(group, {
    name: 'list',
    description: 'the certificates: how long each lasts, and what it covers',
    examples: ['chancery cert list', 'chancery cert list -o json'],
  })
    .option('--limit <n>', 'how many at most', count, 1000)
    .action(overApi(list));
  addApiCommand(group, {
    name: 'show',
    description: 'one certificate; never its key',
    examples: ['chancery cert show edge', 'chancery cert show edge --chain > chain.pem'],
  })
    .alias('get')
    .argument('<name>', 'its name')
    .option('--chain', 'nothing but the chain, PEM', false)
    .action(overApi(show));
  const end = addApiCommand(group, {
    name: 'remove',
    description: 'end a certificate; refused while the settings or a mapping use it',
    examples: ['chancery cert remove edge --reason "moved to another gateway"'],
  });
  writing(end.argument('<name>', 'its name')).action(overApi(remove));
}

function writing(command: Command): Command {
  return addIfVersion(addDryRun(addReason(command, { required: false })), 'the certificate');
}

async function put(session: Session, name: string, chain: string, key: string, flags: WriteFlags): Promise<undefined> {
  const body = { certificateChain: readPemFile(chain), privateKey: readPemFile(key) };
  const path = gatewayPath(session.gateway, 'certificates', name);
  const answer = await session.api.write<Written | Plan>('PUT', path, { body, query: writeQuery(flags), ifMatch: tag(flags) });
  await session.out.print(answer.body, () => {
    if (flags.dryRun === true) return planText(answer.body as Plan, session.out);
    const { unchanged, gatewayVersion, expiresAt, daysLeft, warnings } = answer.body as Written;
    const head = unchanged
      ? `Unchanged: ${valueText(name)} is this certificate already.\n`
      : `${answer.status === 201 ? 'Made' : 'Exchanged'}: ${valueText(name)} in version ${gatewayVersion}; it lasts until ${expiresAt} (${daysLeft} days).\n`;
    return head + warningsText(warnings, session.out.colours) + (unchanged ? '' : afterwards(gatewayVersion, flags.confirmWithin));
  });
  return undefined;
}

function readPemFile(file: string): string {
  try {
    if (statSync(file).size > MOST_BYTES) throw new UsageError(`${file} is larger than any certificate or key (${MOST_BYTES} bytes).`);
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'}).`);
  }
}

async function list({ api, gateway, out }: Session, { limit }: { readonly limit: number }): Promise<undefined> {
  const page = await readPages<Certificate>(api, gatewayPath(gateway, 'certificates'), { limit });
  const { colours } = out;
  const paints = { valid: colours.good, expiring: colours.doubtful, expired: colours.bad };
  await out.print(page, () =>
    page.items.length === 0
      ? 'There is no certificate.\n'
      : table(
          page.items,
          [
            { title: 'NAME', text: (one) => one.name },
            { title: 'STATE', text: (one) => one.state, paint: (text, one) => paints[one.state](text) },
            { title: 'DAYS', text: (one) => one.daysLeft, align: 'right' },
            { title: 'EXPIRES', text: (one) => one.expiresAt },
            { title: 'NAMES', text: (one) => [...one.sans.dns, ...one.sans.ip].join(' ') },
            { title: 'HOSTS', text: (one) => one.serves.hostCount, align: 'right' },
            { title: 'LIVE', text: liveText, align: 'right' },
            { title: 'PROBLEM', text: ({ problem }) => problem?.code ?? '', paint: (text) => colours.bad(text) },
            { title: 'USED BY', text: (one) => one.usedBy.join(' ') },
          ],
          colours.faint,
        ),
  );
  if (page.next !== null) out.note('There are more: a higher --limit shows them.');
  return undefined;
}

async function show({ api, gateway, out }: Session, name: string, { chain }: { readonly chain: boolean }): Promise<undefined> {
  const { body } = await api.get<Certificate>(gatewayPath(gateway, 'certificates', name));
  await out.print(body, () => (chain ? (body.certificateChain ?? '') : certificateText(body)));
  return undefined;
}

function certificateText(one: Certificate): string {
  return facts([
    ['name', one.name],
    ['state', `${one.state}, ${one.daysLeft} days left`],
    ['expires', one.expiresAt],
    ['names', [...one.sans.dns, ...one.sans.ip].join(' ')],
    ['subject', one.subject],
    ['issuer', one.issuer],
    ['key', one.keyAlgorithm],
    ['sha256', one.fingerprint],
    ['source', one.source],
    ['version', one.version],
    ['serves', one.serves.hosts.map(({ host, mappingCount }) => `${host} (${mappingCount})`).join(' ')],
    ['used by', one.usedBy.join(' ')],
    ['live on', one.live.map(({ target, current }) => (current ? target : `${target} (an earlier one)`)).join(' ')],
    ['not yet on', one.pending.join(' ')],
    ['problem', one.problem === null ? '' : `${one.problem.code}, since ${one.problem.since}: ${one.problem.message}`],
  ]);
}

/** On how many targets, of how many. */
function liveText({ live, pending }: Certificate): string {
  const count = live.filter(({ current }) => current).length;
  return `${count}/${count + pending.length}`;
}

async function remove(session: Session, name: string, flags: WriteFlags): Promise<undefined> {
  const path = gatewayPath(session.gateway, 'certificates', name);
  const { body } = await session.api.write<{ gatewayVersion: number } | Plan>('DELETE', path, {
    query: writeQuery(flags),
    ifMatch: tag(flags),
  });
  await session.out.print(body, () =>
    flags.dryRun === true
      ? planText(body as Plan, session.out)
      : `Removed: ${valueText(name)} in version ${(body as { gatewayVersion: number }).gatewayVersion}.\n`,
  );
  return undefined;
}

function tag({ ifVersion }: WriteFlags): string | undefined {
  return ifVersion === undefined ? undefined : `"${ifVersion}"`;
}
