import type { Command } from 'commander';

import { ApiClient } from '../api-client.js';
import { type Connection, checkToken, isThisMachine, readToken } from '../connection.js';
import { ApiRefusal } from '../problem-report.js';
import { askSecret } from '../question.js';
import { addApiCommand, overApi, type Session } from '../session.js';
import { removeStoredLogin, writeStoredLogin } from '../stored-login.js';

/** `login` and `logout`: the address and the token, kept for the commands that follow. */
export function addLoginCommands(program: Command): void {
  addApiCommand(program, {
    name: 'login',
    description: 'keep the address of an API and a token for it; the token comes from stdin or --token-file, never from the command line',
    examples: [
      'chancery login --api https://chancery.example.org',
      'chancery login --api https://chancery.example.org < token.txt',
      'chancery login --token-file .chancery/token',
    ],
  }).action(overApi(login));
  addApiCommand(program, {
    name: 'logout',
    description: 'forget what login keeps; the token itself stays valid until it expires or is revoked',
    examples: ['chancery logout'],
  }).action(overApi(logout));
}

async function login(session: Session, _flags: object): Promise<undefined> {
  const { out, places, options } = session;
  const { url, urlSource } = session.api.connection;
  const token =
    options.tokenFile === undefined
      ? { value: await tokenFromStdin(url), source: 'stdin' }
      : { value: readToken(options.tokenFile, '--token-file'), source: `--token-file ${options.tokenFile}` };
  if (url.startsWith('http:') && !isThisMachine(url)) out.note(`Everyone between here and ${url} can read the token: it is not https.`);
  await checkLogin({ url, urlSource, token }, options.requestTimeout, out.note.bind(out));
  writeStoredLogin(places.storedLogin, { api: url, token: token.value });
  await out.print({ api: url, file: places.storedLogin }, () => `Logged in to ${url}. Kept in ${places.storedLogin} (mode 0600).\n`);
  return undefined;
}

async function tokenFromStdin(url: string): Promise<string> {
  if (process.stdin.isTTY === true) return checkToken(await askSecret(`Token for ${url}: `), 'What was typed');
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(Buffer.from(chunk));
  return checkToken(Buffer.concat(chunks).toString('utf8'), 'stdin');
}

/** Asks the API, so that a wrong token or address is found now. A token that may not read is a valid one all the same. */
async function checkLogin(connection: Connection, timeoutMs: number, note: (text: string) => void): Promise<void> {
  try {
    await new ApiClient(connection, timeoutMs).get('/v1/gateways');
  } catch (error) {
    if (!(error instanceof ApiRefusal) || error.httpStatus !== 403) throw error;
    note('The token is valid, and it may not read (scope read): most commands will be refused.');
  }
}

async function logout({ out, places }: Session, _flags: object): Promise<undefined> {
  const removed = removeStoredLogin(places.storedLogin);
  await out.print({ removed }, () => (removed ? `Forgotten: ${places.storedLogin}\n` : 'There was no login to forget.\n'));
  return undefined;
}
