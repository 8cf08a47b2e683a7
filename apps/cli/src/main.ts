import { fileURLToPath } from 'node:url';
import { CommanderError } from 'commander';

import { CommandFailure, exitStatus, exitStatusOfError } from './exit-status.js';
import { printableLines } from './output/printable.js';
import { createProgram } from './program.js';

// Nobody reads any more (chancery --help | head -1): that stops no command. Those that only print end themselves (overApi).
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') process.exitCode = exitStatus.failed;
});

try {
  await createProgram(fileURLToPath(new URL('../../../../', import.meta.url))).parseAsync(); // from dist/apps/cli/src/
} catch (error) {
  process.exitCode = report(error);
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
