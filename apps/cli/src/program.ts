import { Command, InvalidArgumentError } from 'commander';

import { addAuditCommand } from './commands/audit-command.js';
import { addCertificateCommands } from './commands/certificate-commands.js';
import { addConfigurationCommands } from './commands/configuration-commands.js';
import { addEnvoyCommand } from './commands/envoy-command.js';
import { addExplainCommand } from './commands/explain-command.js';
import { addHistoryCommands } from './commands/history-commands.js';
import { addLoginCommands } from './commands/login-command.js';
import { addMappingCommands } from './commands/mapping-commands.js';
import { addQuarantineCommands } from './commands/quarantine-commands.js';
import { addRedeployCommand } from './commands/redeploy-command.js';
import { addRestoreCommands } from './commands/restore-commands.js';
import { addRolloutCommands } from './commands/rollout-commands.js';
import { addRouteTestCommands } from './commands/route-test-commands.js';
import { addStatusCommand } from './commands/status-command.js';
import { addTokenListCommands } from './commands/token-commands.js';
import { addVerifyCommand } from './commands/verify-command.js';
import { addWaitCommand } from './commands/wait-command.js';
import { addDatabaseCommands } from './database-commands.js';
import { addDevCommand } from './dev/dev-command.js';
import { addKeyCommands } from './key-commands.js';
import { addGlobalOptions, examplesText, helpOrder } from './session.js';
import { addTokenCommand } from './token-command.js';

/** The command `chancery` with everything that it can do. What it exits with: exit-status.ts. @param root the checkout, with a slash at its end */
export function createProgram(root: string): Command {
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
  addExplainCommand(program);
  addRouteTestCommands(program);
  addCertificateCommands(program);
  addWaitCommand(program);
  addRedeployCommand(program);
  addRolloutCommands(program);
  addEnvoyCommand(program);
  addQuarantineCommands(program);
  addAuditCommand(program);
  addVerifyCommand(program);
  addLoginCommands(program);
  addTokenListCommands(addTokenCommand(program));
  addDatabaseCommands(program);
  addKeyCommands(program);
  addDevCommand(program, { defaultData: `${root}.chancery`, port });
  return program;
}

function port(text: string): number {
  const number = Number(text);
  if (!/^\d+$/.test(text) || number > 65_535) throw new InvalidArgumentError('It must be a number from 0 to 65535.');
  return number;
}
