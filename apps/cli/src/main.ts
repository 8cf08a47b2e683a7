import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';

import { DomainError } from '#platform/kernel/errors.js';

import { addDatabaseCommands } from './database-commands.js';
import { addDevCommand } from './dev/dev-command.js';
import { addTokenCommand } from './token-command.js';
import { UsageError } from './usage-error.js';

const root = fileURLToPath(new URL('../../../../', import.meta.url)); // from dist/apps/cli/src/

/**
 * The command `chancery`. Exit status: 0 done; 1 it could not be done (the reason is on stderr); 2 wrong usage; 5 something changed meanwhile (412);
 * 6 not authenticated or not allowed.
 */
const program = new Command('chancery')
  .description('Chancery: an event-sourced configuration service for Envoy API gateways')
  .exitOverride()
  .showHelpAfterError('(--help shows what there is)');

addTokenCommand(program);
addDatabaseCommands(program);
addDevCommand(program, { defaultData: `${root}.chancery`, port });

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = exitStatus(error);
}

function port(text: string): number {
  const number = Number(text);
  if (!/^\d+$/.test(text) || number > 65_535) throw new InvalidArgumentError('It must be a number from 0 to 65535.');
  return number;
}

/** commander's own errors carry an exitCode (0 for help and version; its 1 for wrong usage is our 2) and have been printed by then. */
function exitStatus(error: unknown): number {
  if (error instanceof Error && 'exitCode' in error) return error.exitCode === 0 ? 0 : 2;
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  if (error instanceof UsageError) return 2;
  if (!(error instanceof DomainError)) return 1;
  if (error.kind === 'malformed' || error.kind === 'invalid') return 2;
  if (error.kind === 'stale') return 5;
  return error.kind === 'unauthenticated' || error.kind === 'forbidden' ? 6 : 1;
}
