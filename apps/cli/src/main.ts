import { fileURLToPath } from 'node:url';
import { Command, CommanderError, InvalidArgumentError } from 'commander';

import { addAuditCommand } from './commands/audit-command.js';
import { addConfigurationCommands } from './commands/configuration-commands.js';
import { addHistoryCommands } from './commands/history-commands.js';
import { addLoginCommands } from './commands/login-command.js';
import { addMappingCommands } from './commands/mapping-commands.js';
import { addQuarantineCommands } from './commands/quarantine-commands.js';
import { addRedeployCommand } from './commands/redeploy-command.js';
import { addRestoreCommands } from './commands/restore-commands.js';
import { addStatusCommand } from './commands/status-command.js';
import { addTokenListCommands } from './commands/token-commands.js';
import { addVerifyCommand } from './commands/verify-command.js';
import { addWaitCommand } from './commands/wait-command.js';
import { addDatabaseCommands } from './database-commands.js';
import { addDevCommand } from './dev/dev-command.js';
import { CommandFailure, exitStatus, exitStatusOfError } from './exit-status.js';
import { printableLines } from './output/printable.js';
import { addGlobalOptions, examplesText, helpOrder } from './session.js';
import { addTokenCommand } from './token-command.js';

const root = fileURLToPath(new URL('../../../../', import.meta.url)); // from dist/apps/cli/src/

/** The command `chancery`. What it exits with: exit-status.ts. */
const program = addGlobalOptions(new Command('chancery'))
  .description('Chancery: an event-sourced configuration service for Envoy API gateways')
  .configureHelp(helpOrder)
  .enablePositionalOptions()
  .exitOverride()
  .showHelpAfterError('(--help shows what there is)')
  .addHelpText(
    'after',
    examplesText([
      'chancery status',
      'chancery history --since 24h',
      'chancery diff 11..12',
      'chancery rollback 11 --reason "checkout answers 503"',
    ]),
  );

addStatusCommand(program);
addHistoryCommands(program);
addRestoreCommands(program);
addConfigurationCommands(program);
addMappingCommands(program);
addWaitCommand(program);
addRedeployCommand(program);
addQuarantineCommands(program);
addAuditCommand(program);
addVerifyCommand(program);
addLoginCommands(program);
addTokenListCommands(addTokenCommand(program));
addDatabaseCommands(program);
addDevCommand(program, { defaultData: `${root}.chancery`, port });

// A reader that has had enough (chancery history | head -1) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? exitStatus.done : exitStatus.failed));

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error);
}

function port(text: string): number {
  const number = Number(text);
  if (!/^\d+$/.test(text) || number > 65_535) throw new InvalidArgumentError('It must be a number from 0 to 65535.');
  return number;
}

/** Prints what ended the command, without a trace where it was to be expected. @returns the exit status. */
function report(error: unknown): number {
  // commander's own errors carry an exitCode (0 for help and version; its 1 for wrong usage is our 2) and have been printed by then.
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitStatus.done : exitStatus.usage;
  const said = error instanceof Error ? error.message : String(error);
  process.stderr.write(`${printableLines(said)}\n`);
  if (error instanceof CommandFailure && error.nextStep !== undefined) process.stderr.write(`Next: ${printableLines(error.nextStep)}\n`);
  return exitStatusOfError(error);
}
