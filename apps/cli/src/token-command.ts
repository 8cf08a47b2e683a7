import { randomUUID } from 'node:crypto';
import { userInfo } from 'node:os';
import { type Command, InvalidArgumentError } from 'commander';

import { DEFAULT_TOKEN_DAYS } from '#features/access/access.js';

import { addGroup } from './session.js';
import { withDatabase } from './with-database.js';

interface Flags {
  readonly scopes: readonly string[];
  readonly expires: number;
  readonly name: string;
  readonly json: boolean;
}

/** `token create`: the way to a first token, straight on the database, before any token could ask the API for one. */
export function addTokenCommand(program: Command): Command {
  const token = addGroup(program, {
    name: 'token',
    description: 'tokens for the API and for agents',
    examples: ['chancery token create --scopes read,write --name "shop pipeline"', 'chancery token list'],
  });
  token
    .command('create')
    .description('make a token and print it, once: only its SHA-256 is kept')
    .requiredOption(
      '--scopes <list>',
      'of read, write, deploy, admin, certificates, audit, agent:<target>, agent:*; separated by commas',
      (text: string) => text.split(',').map((scope) => scope.trim()),
    )
    .option('--expires <time>', 'until it expires: 12h, 30d (90d at most)', days, DEFAULT_TOKEN_DAYS)
    .option('--name <text>', 'what it is for; shown in lists', 'unnamed')
    .option('--json', 'print {"token", "id", "scopes", "expiresAt"}', false)
    .addHelpText(
      'after',
      '\nExamples:\n  chancery token create --scopes admin,audit,certificates,deploy,read,write --name "first admin"\n  chancery token create --scopes agent:edge-1 --expires 90d --name "agent of edge-1"',
    )
    .action(createToken);
  return token;
}

async function createToken(flags: Flags): Promise<void> {
  const { EventStore } = await import('#platform/eventstore/event-store.js');
  const { issueToken } = await import('#features/access/create-token.js');
  const { parseTokenInput } = await import('#features/access/token-input.js');
  const input = parseTokenInput({ name: flags.name, scopes: [...flags.scopes], expiresInDays: flags.expires });
  const issued = await withDatabase(async (database) => {
    const events = new EventStore({ database });
    try {
      const request = { context: { commandId: randomUUID(), actor: `cli/${userInfo().username}` }, dryRun: false };
      return await issueToken(events, input, request, Date.now());
    } finally {
      await events.close();
    }
  });
  const { id, scopes, expiresAt } = issued.state;
  process.stdout.write(flags.json ? `${JSON.stringify({ token: issued.secret, id, scopes, expiresAt })}\n` : `${issued.secret}\n`);
  if (!flags.json) process.stderr.write(`Token ${id} (${scopes.join(', ')}) expires ${expiresAt}. It is shown once.\n`);
}

/** `12h` or `30d`, in days. */
function days(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([hd])$/.exec(text);
  const amount = Number(match?.[1]);
  if (match === null || amount <= 0) throw new InvalidArgumentError('It must be a number of hours or days: 12h, 30d.');
  return match[2] === 'h' ? amount / 24 : amount;
}
