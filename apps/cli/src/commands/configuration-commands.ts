import type { Command } from 'commander';

import { sha256Hex } from '#platform/kernel/digest.js';

import { gatewayPath } from '../api-client.js';
import { readDocument } from '../document-file.js';
import { CommandFailure, exitStatus } from '../exit-status.js';
import { version } from '../option-values.js';
import { type Change, changesText, countChanges, warningsText } from '../output/changes.js';
import { printableJson } from '../output/printable.js';
import { addApiCommand, overApi, type Session } from '../session.js';
import { UsageError } from '../usage-error.js';
import {
  addConfirmWithin,
  addDryRun,
  addIfVersion,
  addOverrideRouteTests,
  addReason,
  afterwards,
  gatewayTag,
  type Plan,
  planText,
  type WriteFlags,
  writeQuery,
} from '../write-options.js';

interface ApplyFlags extends WriteFlags {
  readonly file: string;
  readonly owner?: string;
  readonly prune: boolean;
  readonly overrideQuarantine: boolean;
  readonly exitCode?: boolean;
}

/** `plan`, `apply`, `export`: the configuration as one document. */
export function addConfigurationCommands(program: Command): void {
  const plan = addApiCommand(program, {
    name: 'plan',
    description: 'what a document would change, with warnings; changes nothing',
    examples: [
      'chancery plan -f gateway.yaml',
      'chancery plan -f gateway.yaml --prune --owner shop --exit-code',
      'cat gateway.json | chancery plan -f -',
    ],
  });
  addDocumentOptions(plan).option('--exit-code', 'exit with 1 when it would change something', false).action(overApi(planDocument));
  const apply = addApiCommand(program, {
    name: 'apply',
    description: 'make the configuration what a document says, in one version; twice is the same as once',
    examples: [
      'chancery apply -f gateway.yaml --reason "release 41"',
      'chancery apply -f gateway.yaml --prune --owner shop --confirm-within 5m',
      'chancery export | chancery apply -f - --gateway staging',
    ],
  });
  addOverrideRouteTests(addDryRun(addConfirmWithin(addReason(addDocumentOptions(apply), { required: false })))).action(
    overApi(applyDocument),
  );
  addApiCommand(program, {
    name: 'export',
    description: 'the whole configuration as one document (YAML, or JSON with -o json): what chancery apply takes',
    examples: ['chancery export > gateway.yaml', 'chancery export --version 11 -o json | jq .mappings'],
  })
    .option('--version <n>', 'as of this version; the newest without it', version)
    .action(overApi(exportDocument));
}

function addDocumentOptions(command: Command): Command {
  command
    .requiredOption('-f, --file <file>', 'the document, YAML or JSON; - reads it from stdin')
    .option('--owner <name>', 'whose document this is: what it makes is marked as theirs')
    .option('--prune', 'also end what this owner has and the document does not name (needs --owner)', false)
    .option('--override-quarantine', 'bring back states that are quarantined, too (needs --reason)', false);
  return addIfVersion(command);
}

async function send<T>({ api, gateway }: Session, flags: ApplyFlags) {
  if (flags.prune && flags.owner === undefined) throw new UsageError('--prune needs --owner: it ends only what that owner has.');
  const json = await readDocument(flags.file, process.stdin);
  return api.write<T>('PUT', gatewayPath(gateway, 'config'), {
    json,
    query: {
      ...writeQuery(flags),
      owner: flags.owner,
      prune: flags.prune ? true : undefined,
      overrideQuarantine: flags.overrideQuarantine ? true : undefined,
    },
    ifMatch: flags.ifVersion === undefined ? '*' : gatewayTag(flags.ifVersion),
  });
}

async function planDocument(session: Session, flags: ApplyFlags): Promise<number> {
  const { body } = await send<Plan>(session, { ...flags, dryRun: true });
  const { out } = session;
  const next = () => (body.changes.length === 0 ? '' : `chancery apply with --if-version ${body.basedOn} carries out exactly this.\n`);
  await out.print(body, () => `${planText(body, out)}${next()}`);
  return flags.exitCode === true && body.changes.length > 0 ? exitStatus.difference : exitStatus.done;
}

async function applyDocument(session: Session, flags: ApplyFlags): Promise<number> {
  if (flags.dryRun === true) return planDocument(session, flags);
  type Applied = { version: number; unchanged: boolean; changes: Change[]; warnings?: { code: string; message: string }[] };
  const { body } = await send<Applied>(session, flags);
  const { out } = session;
  await out.print(body, () => {
    const warnings = warningsText(body.warnings ?? [], out.colours);
    if (body.unchanged) return `${warnings}Nothing to change: the gateway is what the document says (version ${body.version}).\n`;
    const head = out.colours.faint(`version ${body.version}: ${countChanges(body.changes)}`);
    return `${head}\n${changesText(body.changes, out.colours)}${warnings}${afterwards(body.version, flags.confirmWithin)}`;
  });
  return exitStatus.done;
}

/** The bytes are the API's own: equal configurations are equal files. The digest of JSON is checked, so that a file that was cut off is never taken for the whole. */
async function exportDocument({ api, gateway, out }: Session, flags: { version?: number }): Promise<undefined> {
  const format = out.format === 'json' ? 'json' : 'yaml';
  const path = flags.version === undefined ? gatewayPath(gateway, 'config') : gatewayPath(gateway, 'versions', flags.version, 'config');
  const { text, headers } = await api.get(path, {
    query: { format },
    accept: format === 'yaml' ? 'application/yaml, application/problem+json' : 'application/json',
  });
  const digest = headers.get('chancery-digest');
  if (format === 'json' && digest !== null && sha256Hex(text.trimEnd()) !== digest.replaceAll('"', '')) {
    throw new CommandFailure(
      'The document that arrived is not the one that was sent: its digest differs.',
      exitStatus.failed,
      'Give the command again.',
    );
  }
  out.raw(process.stdout.isTTY === true ? printableJson(text) : text);
  return undefined;
}
