import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';

import { addDevCommand } from './dev/dev-command.js';

const root = fileURLToPath(new URL('../../../../', import.meta.url)); // from dist/apps/cli/src/

/**
 * The command `chancery`. Exit status: 0 done; 1 it could not be done (the reason is on stderr); 2 wrong usage; 5 something changed meanwhile (412);
 * 6 not authenticated or not allowed.
 */
const program = new Command('chancery')
  .description('Chancery: an event-sourced configuration service for Envoy API gateways')
  .exitOverride()
  .showHelpAfterError('(--help shows what there is)');

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

/** commander ends with `CommanderError` for help and version (status 0) and for wrong usage (its 1 is our 2); it has printed the reason by then. */
function exitStatus(error: unknown): number {
  if (error instanceof Error && 'exitCode' in error) return error.exitCode === 0 ? 0 : 2;
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  return 1;
}
