import type { Command } from 'commander';

import { apiPath } from '../api-client.js';
import { count } from '../option-values.js';
import { paintState } from '../output/colours.js';
import { table } from '../output/table.js';
import { readPages } from '../pages.js';
import { addApiCommand, overApi, type Session } from '../session.js';
import { addReason } from '../write-options.js';

interface TokenView {
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly state: string;
  readonly createdBy: string;
  readonly createdAt: string;
  readonly expiresAt: string;
}

/** `token list` and `token revoke`, beside `token create`, which works on the database. */
export function addTokenListCommands(token: Command): void {
  addApiCommand(token, {
    name: 'list',
    description: 'the tokens; never their secrets',
    examples: ['chancery token list', 'chancery token list -o json'],
  })
    .option('--limit <n>', 'how many at most', count, 100)
    .action(overApi(list));
  addReason(
    addApiCommand(token, {
      name: 'revoke',
      description: 'revoke a token; it is refused everywhere within 5 s',
      examples: ['chancery token revoke 0123456789abcdef --reason "left the team"'],
    }).argument('<id>', 'as list shows it'),
    { required: false },
  ).action(overApi(revoke));
}

async function list({ api, out }: Session, { limit }: { limit: number }): Promise<undefined> {
  const page = await readPages<TokenView>(api, '/v1/tokens', { limit });
  await out.print(page, () =>
    table(
      page.items,
      [
        { title: 'ID', text: (one) => one.id },
        { title: 'STATE', text: (one) => one.state, paint: (text) => paintState(out.colours, text) },
        { title: 'SCOPES', text: (one) => one.scopes.join(',') },
        { title: 'EXPIRES', text: (one) => one.expiresAt },
        { title: 'CREATED BY', text: (one) => one.createdBy },
        { title: 'NAME', text: (one) => one.name },
      ],
      out.colours.faint,
    ),
  );
  if (page.next !== null) out.note('There are more: a higher --limit shows them.');
  return undefined;
}

async function revoke({ api, out }: Session, id: string, { reason }: { reason?: string }): Promise<undefined> {
  const { body } = await api.write('DELETE', apiPath('v1', 'tokens', id), { query: { reason } });
  await out.print(body, () => `Revoked: ${id}.\n`);
  return undefined;
}
