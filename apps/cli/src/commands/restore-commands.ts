import type { Command } from 'commander';

import { gatewayPath } from '../api-client.js';
import { exitStatus } from '../exit-status.js';
import { version } from '../option-values.js';
import type { Change } from '../output/changes.js';
import { facts } from '../output/table.js';
import { askYesOrNo, requireAnswerable } from '../question.js';
import { addApiCommand, overApi, type Session } from '../session.js';
import {
  addConfirmWithin,
  addDryRun,
  addIfVersion,
  addOverrideRouteTests,
  addReason,
  afterwards,
  flag,
  gatewayTag,
  type Plan,
  planText,
} from '../write-options.js';

interface RestoreFlags {
  readonly reason: string;
  readonly confirmWithin?: string;
  readonly dryRun: boolean;
  readonly ifVersion?: number;
  readonly overrideQuarantine: boolean;
  readonly includeCertificates?: boolean;
  readonly overrideRouteTests: boolean;
  readonly yes: boolean;
}

/** `rollback`, `revert`, `confirm`: going back, undoing one version, and saying that a version may stay. */
export function addRestoreCommands(program: Command): void {
  const rollback = addApiCommand(program, {
    name: 'rollback',
    description: 'restore the configuration of an older version, as a new version; shows what that changes and asks first',
    examples: [
      'chancery rollback 11 --dry-run --reason "checkout answers 503"',
      'chancery rollback 11 --reason "checkout answers 503"',
      'chancery rollback 11 --reason "checkout answers 503" --confirm-within 5m --yes',
    ],
  }).argument('<version>', 'the version to restore', version);
  addRestoreOptions(rollback)
    .option('--include-certificates', 'certificates go back too, but for those that were removed since or have expired', false)
    .action(overApi(restoreVersion));
  const revert = addApiCommand(program, {
    name: 'revert',
    description: 'undo one version and nothing else; refused where later versions changed the same',
    examples: ['chancery revert 12 --reason "wrong timeout"', 'chancery revert 12 --reason "wrong timeout" --dry-run -o json'],
  }).argument('<version>', 'the version to undo', version);
  addRestoreOptions(revert).action(overApi(revertVersion));
  addReason(
    addApiCommand(program, {
      name: 'confirm',
      description: 'let a version stay that would be undone by itself (--confirm-within)',
      examples: ['chancery confirm 12', 'chancery confirm 12 --reason "error rate is normal"'],
    }).argument('<version>', 'the version that may stay', version),
    { required: false },
  ).action(overApi(confirm));
}

function addRestoreOptions(command: Command): Command {
  addReason(command, { required: true });
  addConfirmWithin(command);
  addDryRun(command);
  addIfVersion(command);
  addOverrideRouteTests(command);
  return command
    .option('--override-quarantine', 'bring back states that are quarantined, too', false)
    .option('-y, --yes', 'do it without asking; needed where nobody can be asked', false);
}

function restoreVersion(session: Session, to: number, flags: RestoreFlags): Promise<number> {
  return restore(session, flags, {
    path: 'rollbacks',
    body: { toVersion: to, ...(flags.includeCertificates === true ? { includeCertificates: true } : {}) },
    question: `Restore version ${to}?`,
    equal: `The configuration is that of version ${to} already: there is nothing to restore.`,
    done: ({ version: made, restoredDigest }) => [
      ['version', made],
      ['restores', to],
      ['digest', typeof restoredDigest === 'string' ? `${restoredDigest} (equal to that of version ${to})` : null],
    ],
  });
}

function revertVersion(session: Session, undone: number, flags: RestoreFlags): Promise<number> {
  return restore(session, flags, {
    path: 'reverts',
    body: { version: undone },
    question: `Undo version ${undone}?`,
    equal: `Nothing of version ${undone} is left to undo.`,
    done: ({ version: made }) => [
      ['version', made],
      ['undoes', undone],
    ],
  });
}

interface Restoration {
  readonly path: 'rollbacks' | 'reverts';
  readonly body: object;
  readonly question: string;
  readonly equal: string;
  readonly done: (answer: Restored) => Parameters<typeof facts>[0];
}

interface Restored {
  readonly version: number;
  readonly unchanged?: boolean;
  readonly restoredDigest?: string;
  readonly changes: readonly Change[];
}

/** Plans, shows, asks, and carries out exactly what was shown: the plan's tag goes with the write, which is refused (exit 5) when anything moved meanwhile. */
async function restore({ api, gateway, out }: Session, flags: RestoreFlags, what: Restoration): Promise<number> {
  if (!flags.dryRun && !flags.yes) requireAnswerable(process.stdin);
  const body = {
    ...what.body,
    reason: flags.reason,
    ...(flags.confirmWithin === undefined ? {} : { confirmWithin: flags.confirmWithin }),
    ...(flags.overrideQuarantine ? { overrideQuarantine: true } : {}),
  };
  const path = gatewayPath(gateway, what.path);
  const ifMatch = flags.ifVersion === undefined ? undefined : gatewayTag(flags.ifVersion);
  const plan = await api.write<Plan>('POST', path, {
    body,
    query: { dryRun: true, overrideRouteTests: flag(flags.overrideRouteTests) },
    ifMatch,
  });
  if (flags.dryRun) {
    await out.print(plan.body, () => planText(plan.body, out));
    return exitStatus.done;
  }
  if (plan.body.changes.length === 0) {
    await out.print({ unchanged: true, ...plan.body }, () => `${what.equal}\n`);
    return exitStatus.done;
  }
  out.aside(planText(plan.body, out));
  if (!flags.yes && !(await askYesOrNo(what.question))) {
    out.note('Nothing was changed.');
    return exitStatus.failed;
  }
  const { body: answer } = await api.write<Restored>('POST', path, {
    body,
    query: { overrideRouteTests: flag(flags.overrideRouteTests) },
    ifMatch: plan.headers.get('etag') ?? gatewayTag(plan.body.basedOn),
  });
  if (answer.unchanged === true) await out.print(answer, () => `${what.equal}\n`);
  else await out.print(answer, () => `\n${facts(what.done(answer))}${afterwards(answer.version, flags.confirmWithin)}`);
  return exitStatus.done;
}

async function confirm({ api, gateway, out }: Session, number: number, { reason }: { reason?: string }): Promise<number> {
  const path = gatewayPath(gateway, 'versions', number, 'confirm');
  const { body } = await api.write<{ version: number; confirmedBy?: string; confirmedAt?: string }>('POST', path, {
    body: reason === undefined ? {} : { reason },
  });
  await out.print(body, () => `Version ${number} stays: confirmed${body.confirmedAt === undefined ? '' : ` at ${body.confirmedAt}`}.\n`);
  return exitStatus.done;
}
