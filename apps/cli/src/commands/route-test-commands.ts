import type { Command } from 'commander';

import { gatewayPath } from '../api-client.js';
import { exitStatus } from '../exit-status.js';
import { count, several } from '../option-values.js';
import { valueText } from '../output/changes.js';
import { facts, table } from '../output/table.js';
import { readPages } from '../pages.js';
import { addApiCommand, addGroup, overApi, type Session } from '../session.js';
import { UsageError } from '../usage-error.js';
import {
  addDryRun,
  addIfVersion,
  addOverrideRouteTests,
  addReason,
  type Plan,
  planText,
  type WriteFlags,
  writeQuery,
} from '../write-options.js';
import { headersOf } from './explain-command.js';

interface RouteTest {
  readonly name: string;
  readonly request: { readonly method: string; readonly url: string };
  readonly expect: { readonly mapping?: string; readonly none?: true; readonly rewrittenPath?: string; readonly upstream?: string };
  readonly version: number;
  readonly gatewayVersion: number;
  readonly result: { readonly passed: boolean; readonly message: string | null };
}

/** `route-test ...`: what requests must come to, kept with the configuration. */
export function addRouteTestCommands(program: Command): void {
  const group = addGroup(program, {
    name: 'route-test',
    description: 'what requests must come to; a write that breaks one is refused: list, get, set, delete',
    examples: ['chancery route-test set health GET http://api.example.com/user/health --mapping user', 'chancery route-test list'],
  });
  addApiCommand(group, {
    name: 'list',
    description: 'the route tests, with their results on the routes of this moment; exits with 1 when one fails',
    examples: ['chancery route-test list', 'chancery route-test list -o json'],
  })
    .option('--limit <n>', 'how many at most', count, 1000)
    .action(overApi(list));
  addApiCommand(group, { name: 'get', description: 'one route test', examples: ['chancery route-test get health'] })
    .argument('<name>', 'its name')
    .action(overApi(get));
  const set = addApiCommand(group, {
    name: 'set',
    description: 'make a route test what is said here, or make it; refused when it does not hold',
    examples: [
      'chancery route-test set health GET http://api.example.com/user/health --mapping user --rewritten-path /health',
      'chancery route-test set admin GET http://api.example.com/admin/ --none',
    ],
  })
    .argument('<name>', 'its name')
    .argument('<method>', 'such as GET', (text: string) => text.toUpperCase())
    .argument('<url>', 'http://host/path, or /path')
    .option('-H, --header <name: value>', 'a header of the request; may be given several times', several)
    .option('--mapping <name>', 'the mapping that must get it')
    .option('--none', 'no mapping must get it', false)
    .option('--rewritten-path <path>', 'what its upstream must be asked for')
    .option('--upstream <upstream>', 'whom it must be asked of, such as http://usersvc:80');
  writing(set).action(overApi(put));
  const end = addApiCommand(group, { name: 'delete', description: 'end a route test', examples: ['chancery route-test delete health'] });
  writing(end.argument('<name>', 'its name')).action(overApi(remove));
}

function writing(command: Command): Command {
  return addIfVersion(addDryRun(addOverrideRouteTests(addReason(command, { required: false }))), 'the route test');
}

async function list({ api, gateway, out }: Session, { limit }: { readonly limit: number }): Promise<number> {
  const page = await readPages<RouteTest>(api, gatewayPath(gateway, 'route-tests'), { limit });
  await out.print(page, () =>
    page.items.length === 0
      ? 'There is no route test.\n'
      : table(
          page.items,
          [
            { title: 'NAME', text: (one) => one.name },
            { title: 'REQUEST', text: (one) => `${one.request.method} ${one.request.url}` },
            { title: 'EXPECTS', text: (one) => one.expect.mapping ?? '(no mapping)' },
            { title: 'RESULT', text: (one) => (one.result.passed ? 'passed' : `failed: ${one.result.message ?? ''}`) },
          ],
          out.colours.faint,
        ),
  );
  if (page.next !== null) out.note('There are more: a higher --limit shows them.');
  return page.items.every(({ result }) => result.passed) ? exitStatus.done : exitStatus.failed;
}

async function get({ api, gateway, out }: Session, name: string): Promise<undefined> {
  const { body } = await api.get<RouteTest>(gatewayPath(gateway, 'route-tests', name));
  const { request, expect, result } = body;
  await out.print(body, () =>
    facts([
      ['name', body.name],
      ['request', `${request.method} ${request.url}`],
      ['expects', expect.mapping ?? '(no mapping)'],
      ['path', expect.rewrittenPath ?? null],
      ['upstream', expect.upstream ?? null],
      ['result', result.passed ? 'passed' : `failed: ${result.message ?? ''}`],
      ['version', body.version],
    ]),
  );
  return undefined;
}

interface SetFlags extends WriteFlags {
  readonly header?: readonly string[];
  readonly mapping?: string;
  readonly none: boolean;
  readonly rewrittenPath?: string;
  readonly upstream?: string;
}

async function put(session: Session, name: string, method: string, url: string, flags: SetFlags): Promise<undefined> {
  const { mapping, none, rewrittenPath, upstream } = flags;
  if ((mapping === undefined) === !none) throw new UsageError('Say --mapping <name> (who must get it) or --none (nobody), and not both.');
  const body = {
    request: { method, url, headers: headersOf(flags.header ?? []) },
    expect: {
      ...(mapping === undefined ? { none: true } : { mapping }),
      ...(rewrittenPath === undefined ? {} : { rewrittenPath }),
      ...(upstream === undefined ? {} : { upstream }),
    },
  };
  const path = gatewayPath(session.gateway, 'route-tests', name);
  const answer = await session.api.write<RouteTest | Plan>('PUT', path, { body, query: writeQuery(flags), ifMatch: tag(flags) });
  await session.out.print(answer.body, () =>
    flags.dryRun === true
      ? planText(answer.body as Plan, session.out)
      : `${answer.status === 201 ? 'Made' : 'Set'}: ${valueText(name)} in version ${(answer.body as RouteTest).gatewayVersion}.\n`,
  );
  return undefined;
}

async function remove(session: Session, name: string, flags: WriteFlags): Promise<undefined> {
  const path = gatewayPath(session.gateway, 'route-tests', name);
  const { body } = await session.api.write<{ gatewayVersion: number } | Plan>('DELETE', path, {
    query: writeQuery(flags),
    ifMatch: tag(flags),
  });
  await session.out.print(body, () =>
    flags.dryRun === true
      ? planText(body as Plan, session.out)
      : `Deleted: ${valueText(name)} in version ${(body as { gatewayVersion: number }).gatewayVersion}.\n`,
  );
  return undefined;
}

function tag({ ifVersion }: WriteFlags): string | undefined {
  return ifVersion === undefined ? undefined : `"${ifVersion}"`;
}
