import type { Command } from 'commander';

import type { Json } from '#platform/kernel/json.js';

import { type ApiAnswer, gatewayPath } from '../api-client.js';
import { count, several } from '../option-values.js';
import { type Change, changesText, valueText, warningsText } from '../output/changes.js';
import { paintState } from '../output/colours.js';
import { printable } from '../output/printable.js';
import { facts, table } from '../output/table.js';
import { readPages } from '../pages.js';
import { addApiCommand, addGroup, overApi, type Session } from '../session.js';
import {
  addConfirmWithin,
  addDryRun,
  addIfVersion,
  addOverrideRouteTests,
  addReason,
  afterwards,
  type Plan,
  planText,
  type WriteFlags,
  writeQuery,
} from '../write-options.js';
import { addMappingFields, type FieldFlags, mappingBody, mappingPatch } from './mapping-fields.js';

interface Mapping {
  readonly name: string;
  readonly host: string;
  readonly prefix: string | null;
  readonly path: string | null;
  readonly service: string;
  readonly version: number;
  readonly gatewayVersion: number;
  readonly recordedAt: string | null;
  readonly status: { readonly state: string; readonly reasons: readonly { readonly code: string; readonly message: string }[] };
  readonly warnings?: readonly { readonly code: string; readonly message: string; readonly pointer: string }[];
}

/** `mapping ...`: one route at a time. */
export function addMappingCommands(program: Command): void {
  const group = addGroup(program, {
    name: 'mapping',
    description: 'one route of the gateway: list, get, create, set, patch, delete, history',
    examples: [
      'chancery mapping create user --prefix /user/ --service usersvc',
      'chancery mapping list --status set_aside',
      'chancery mapping history user',
    ],
  });
  addReads(group);
  addWrites(group);
}

function addReads(group: Command): void {
  addApiCommand(group, {
    name: 'list',
    description: 'the mappings, by name',
    examples: ['chancery mapping list', 'chancery mapping list --service usersvc --label team=shop -o json'],
  })
    .option('--host <host>', 'exactly this host')
    .option('--prefix <prefix>', 'the beginning of the prefix')
    .option('--service <service>', 'exactly this service')
    .option('--label <key=value>', 'with this label; may be given several times', several)
    .option('--status <state>', 'live, pending, unresolved or set_aside')
    .option('--limit <n>', 'how many at most', count, 1000)
    .action(overApi(list));
  addApiCommand(group, {
    name: 'get',
    description: 'one mapping',
    examples: ['chancery mapping get user', 'chancery mapping get user -o yaml'],
  })
    .argument('<name>', 'its name')
    .action(overApi(get));
  addApiCommand(group, {
    name: 'history',
    description: 'what became of one mapping, newest first; of a deleted one too',
    examples: ['chancery mapping history user', 'chancery mapping history user --limit 3 -o json'],
  })
    .argument('<name>', 'its name')
    .option('--limit <n>', 'how many at most', count, 20)
    .action(overApi(history));
}

function addWrites(group: Command): void {
  const write = (name: string, description: string, examples: readonly string[]) => {
    const command = addApiCommand(group, { name, description, examples }).argument('<name>', 'its name');
    return addIfVersion(addOverrideRouteTests(addDryRun(addConfirmWithin(addReason(command, { required: false })))), 'the mapping');
  };
  addMappingFields(
    write('create', 'make a mapping; refused when there is one of this name', [
      'chancery mapping create user --prefix /user/ --service usersvc',
      'chancery mapping create shop --host shop.example.org --prefix / --service shop.web:8080 --label team=shop --reason "new shop"',
    ]),
  ).action(overApi(create));
  addMappingFields(
    write('set', 'make a mapping what is said here, or make it; what is not said has its default', [
      'chancery mapping set user --prefix /user/ --service usersvc --timeout 10s',
      'chancery mapping set user -f user.yaml --if-version 3',
    ]),
  ).action(overApi(replace));
  addMappingFields(
    write('patch', 'change what is said here of a mapping, and nothing else', [
      'chancery mapping patch user --timeout 10s --reason "slow reports"',
      'chancery mapping patch user --unset labels --unset host',
    ]),
    { unset: true },
  ).action(overApi(patch));
  write('delete', 'end a mapping', [
    'chancery mapping delete user --reason "service is gone"',
    'chancery mapping delete user --dry-run',
  ]).action(overApi(remove));
}

interface ListFlags {
  readonly host?: string;
  readonly prefix?: string;
  readonly service?: string;
  readonly label?: readonly string[];
  readonly status?: string;
  readonly limit: number;
}

async function list({ api, gateway, out }: Session, { limit, ...query }: ListFlags): Promise<undefined> {
  const page = await readPages<Mapping>(api, gatewayPath(gateway, 'mappings'), { query, limit });
  await out.print(page, () =>
    page.items.length === 0
      ? 'No mapping fits.\n'
      : table(
          page.items,
          [
            { title: 'NAME', text: (one) => one.name },
            { title: 'HOST', text: (one) => one.host },
            { title: 'MATCH', text: (one) => (one.path === null ? `${one.prefix}…` : one.path) },
            { title: 'SERVICE', text: (one) => one.service },
            { title: 'STATUS', text: (one) => one.status.state, paint: (text) => paintState(out.colours, text) },
            { title: 'VERSION', text: (one) => one.version, align: 'right' },
          ],
          out.colours.faint,
        ),
  );
  if (page.next !== null) out.note('There are more: a higher --limit shows them.');
  return undefined;
}

async function get({ api, gateway, out }: Session, name: string): Promise<undefined> {
  const { body } = await api.get<Mapping>(gatewayPath(gateway, 'mappings', name));
  await out.print(body, () => mappingText(body));
  return undefined;
}

function mappingText({ status, warnings: _warnings, ...members }: Mapping): string {
  const rows = Object.entries(members).map(([key, value]) => [key, plain(value as Json)] as const);
  const reasons = status.reasons.map(({ code, message }) => `${message} (${code})`).join(' ');
  return facts([...rows, ['status', status.state], ['because', reasons]]);
}

function plain(value: Json): string | number | null {
  if (typeof value === 'string' || typeof value === 'number' || value === null) return value;
  return typeof value === 'object' && Object.keys(value).length === 0 ? null : JSON.stringify(value);
}

async function history({ api, gateway, out }: Session, name: string, { limit }: { limit: number }): Promise<undefined> {
  interface Entry {
    readonly subjectVersion: number;
    readonly gatewayVersion: number;
    readonly event: string;
    readonly actor: string;
    readonly reason: string | null;
    readonly recordedAt: string;
    readonly before: Json;
    readonly state: Json;
    readonly diff: Change['diff'];
  }
  const page = await readPages<Entry>(api, gatewayPath(gateway, 'mappings', name, 'history'), { limit });
  await out.print(page, () =>
    page.items
      .map(({ gatewayVersion, subjectVersion, recordedAt, event, actor, reason, before, state, diff }) => {
        const head = `${recordedAt}  ${event} by ${actor} in version ${gatewayVersion} (its own ${subjectVersion})${reason ? `: ${reason}` : ''}`;
        const change = { subject: `mapping/${name}`, before, after: state, ...(diff === undefined ? {} : { diff }) };
        return `${out.colours.strong(printable(head))}\n${changesText([change], out.colours)}`;
      })
      .join('\n'),
  );
  if (page.next !== null) out.note('There are older ones: a higher --limit shows them.');
  return undefined;
}

type Flags = WriteFlags & FieldFlags;

function tag(flags: Flags): string | undefined {
  return flags.ifVersion === undefined ? undefined : `"${flags.ifVersion}"`;
}

async function create(session: Session, name: string, flags: Flags): Promise<undefined> {
  const body = { ...(await mappingBody(flags)), name };
  const path = gatewayPath(session.gateway, 'mappings');
  return tell(session, flags, await session.api.write('POST', path, { body, query: writeQuery(flags), ifMatch: tag(flags) }));
}

async function replace(session: Session, name: string, flags: Flags): Promise<undefined> {
  const body = await mappingBody(flags);
  const path = gatewayPath(session.gateway, 'mappings', name);
  return tell(session, flags, await session.api.write('PUT', path, { body, query: writeQuery(flags), ifMatch: tag(flags) }));
}

async function patch(session: Session, name: string, flags: Flags): Promise<undefined> {
  const body = await mappingPatch(flags);
  const path = gatewayPath(session.gateway, 'mappings', name);
  return tell(session, flags, await session.api.write('PATCH', path, { body, query: writeQuery(flags), ifMatch: tag(flags) }));
}

async function remove(session: Session, name: string, flags: Flags): Promise<undefined> {
  const path = gatewayPath(session.gateway, 'mappings', name);
  return tell(session, flags, await session.api.write('DELETE', path, { query: writeQuery(flags), ifMatch: tag(flags) }));
}

/** The answer to a write: the plan, or the mapping as it is now and what to do next. */
async function tell({ out }: Session, flags: Flags, { body, status }: ApiAnswer<unknown>): Promise<undefined> {
  if (flags.dryRun === true) {
    await out.print(body, () => planText(body as Plan, out));
    return undefined;
  }
  if ((body as { deleted?: boolean }).deleted === true) {
    const { name, gatewayVersion } = body as { name: string; gatewayVersion: number };
    await out.print(
      body,
      () => `Deleted: ${valueText(name)} in version ${gatewayVersion}.\n${afterwards(gatewayVersion, flags.confirmWithin)}`,
    );
    return undefined;
  }
  const mapping = body as Mapping;
  await out.print(body, () => {
    const done = `${status === 201 ? 'Made' : 'Set'}: ${valueText(mapping.name)} in version ${mapping.gatewayVersion}.\n`;
    return `${done}${warningsText(mapping.warnings ?? [], out.colours)}${afterwards(mapping.gatewayVersion, flags.confirmWithin)}`;
  });
  return undefined;
}
