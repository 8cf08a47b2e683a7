import { type Command, InvalidArgumentError } from 'commander';

import { gatewayPath } from '../api-client.js';
import { version } from '../option-values.js';
import { table } from '../output/table.js';
import { readPages } from '../pages.js';
import { addApiCommand, addGroup, overApi, type Session } from '../session.js';
import { UsageError } from '../usage-error.js';
import { addReason } from '../write-options.js';

interface Quarantine {
  readonly id: string;
  readonly subject: string;
  readonly digest: string;
  readonly reason: string | null;
  readonly quarantinedBy: string;
  readonly quarantinedAt: string;
}

/** `quarantine`: states that nothing may bring back by itself. */
export function addQuarantineCommands(program: Command): void {
  const group = addGroup(program, {
    name: 'quarantine',
    description: 'states of a subject that rollback, revert, apply and changesets must not bring back',
    examples: ['chancery quarantine add mapping/user --version 12 --reason "took the shop down"', 'chancery quarantine list'],
  });
  addApiCommand(group, {
    name: 'list',
    description: 'the quarantines of the gateway',
    examples: ['chancery quarantine list', 'chancery quarantine list -o json'],
  }).action(overApi(list));
  addReason(
    addApiCommand(group, {
      name: 'add',
      description: 'quarantine the state that a subject has in a version, or the state with a digest',
      examples: ['chancery quarantine add mapping/user --version 12 --reason "took the shop down"'],
    })
      .argument('<subject>', 'such as mapping/user')
      .option('--version <n>', 'the state that it has as of this version', version)
      .option('--digest <digest>', 'the digest of the state: 64 hexadecimal digits', digest),
    { required: true },
  ).action(overApi(add));
  addReason(
    addApiCommand(group, {
      name: 'lift',
      description: 'lift a quarantine',
      examples: ['chancery quarantine lift 0d9ac1f2 --reason "fixed in the service"'],
    }).argument('<id>', 'as list shows it'),
    { required: false },
  ).action(overApi(lift));
}

function digest(text: string): string {
  if (!/^[0-9a-f]{64}$/i.test(text)) throw new InvalidArgumentError('It must be 64 hexadecimal digits.');
  return text.toLowerCase();
}

async function list({ api, gateway, out }: Session): Promise<undefined> {
  const page = await readPages<Quarantine>(api, gatewayPath(gateway, 'quarantines'), { limit: 1000 });
  await out.print(page, () =>
    page.items.length === 0
      ? 'Nothing is quarantined.\n'
      : table(
          page.items,
          [
            { title: 'ID', text: (one) => one.id },
            { title: 'SUBJECT', text: (one) => one.subject },
            { title: 'DIGEST', text: (one) => one.digest.slice(0, 12) },
            { title: 'SINCE', text: (one) => one.quarantinedAt },
            { title: 'BY', text: (one) => one.quarantinedBy },
            { title: 'REASON', text: (one) => one.reason },
          ],
          out.colours.faint,
        ),
  );
  return undefined;
}

async function add(
  { api, gateway, out }: Session,
  subject: string,
  flags: { version?: number; digest?: string; reason: string },
): Promise<undefined> {
  if ((flags.version === undefined) === (flags.digest === undefined))
    throw new UsageError('Give one of --version and --digest: which state of it?');
  const { body } = await api.write<Quarantine>('POST', gatewayPath(gateway, 'quarantines'), { body: { subject, ...flags } });
  await out.print(body, () => `Quarantined as ${body.id}: ${subject} in the state ${body.digest.slice(0, 12)}….\n`);
  return undefined;
}

async function lift({ api, gateway, out }: Session, id: string, { reason }: { reason?: string }): Promise<undefined> {
  const { body } = await api.write('DELETE', gatewayPath(gateway, 'quarantines', id), { query: { reason } });
  await out.print(body ?? { id, lifted: true }, () => `Lifted: ${id}.\n`);
  return undefined;
}
