import { createInterface } from 'node:readline/promises';
import { PassThrough } from 'node:stream';

import { UsageError } from './usage-error.js';

/** @throws UsageError where there is nobody to ask: a script must say that it means it. */
export function requireAnswerable(input: { readonly isTTY?: boolean }): void {
  if (input.isTTY === true) return;
  throw new UsageError(
    'This asks before it changes anything, and there is no terminal to ask on. Give --yes to do it, or --dry-run to look only.',
  );
}

/** Asks on stderr, so that stdout keeps to the answer. Anything but y or yes means no; so does the end of the input. */
export async function askYesOrNo(question: string): Promise<boolean> {
  const answer = await ask(`${question} [y/N] `, process.stderr);
  return /^y(es)?$/i.test(answer.trim());
}

/** Asks for something that must not be seen: what is typed is not shown. */
export async function askSecret(question: string): Promise<string> {
  process.stderr.write(question);
  const nowhere = new PassThrough();
  nowhere.resume();
  const answer = await ask('', nowhere);
  process.stderr.write('\n');
  return answer;
}

async function ask(question: string, output: NodeJS.WritableStream): Promise<string> {
  const lines = createInterface({ input: process.stdin, output, terminal: true });
  try {
    const closed = new Promise<string>((resolve) => lines.once('close', () => resolve('')));
    return await Promise.race([lines.question(question).catch(() => ''), closed]); // Ctrl-C and Ctrl-D are no answer
  } finally {
    lines.close();
  }
}
