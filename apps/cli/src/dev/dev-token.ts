import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';

import { ACCESS_STREAM, MAX_TOKEN_DAYS, type TokenState, tokenSubject } from '#features/access/access.js';
import { parseToken, secretHash } from '#features/access/token-format.js';
import { type Database, openDatabase } from '#platform/database/database.js';
import { readSubject } from '#platform/eventstore/read-log.js';

import { type DataFolder, writePrivately } from './data-folder.js';

const RENEW_BEFORE_MS = 7 * 86_400_000;
const scopes = ['admin', 'audit', 'certificates', 'deploy', 'read', 'write'];

/**
 * The two tokens of a development machine: the user's (DIR/token, every scope) and the agent's (DIR/agent-token, bound to its target). Both are kept
 * across starts; one that is missing, revoked, expired or about to expire, or of another database, is replaced.
 * @returns the user's.
 */
export async function ensureTokens(databaseUrl: string, folder: DataFolder, target: string): Promise<string> {
  const database = openDatabase({ url: databaseUrl, applicationName: 'chancery-dev', maxConnections: 2 });
  try {
    const [token] = await Promise.all([
      ensureToken(database, folder.token, { name: 'bin/dev', scopes }),
      ensureToken(database, folder.agentToken, { name: `agent of ${target}`, scopes: [`agent:${target}`] }),
    ]);
    return token;
  } finally {
    await database.close();
  }
}

async function ensureToken(database: Database, file: string, wanted: { name: string; scopes: string[] }): Promise<string> {
  const kept = existsSync(file) ? readFileSync(file, 'utf8').trim() : '';
  if (await isGood(database, kept, wanted.scopes)) return kept;
  // Loaded only here: a start that finds its tokens is spared the command's whole world.
  const { EventStore } = await import('#platform/eventstore/event-store.js');
  const { issueToken } = await import('#features/access/create-token.js');
  const events = new EventStore({ database });
  try {
    const request = { context: { commandId: randomUUID(), actor: 'system', reason: 'bin/dev' }, dryRun: false };
    const { secret } = await issueToken(events, { ...wanted, expiresInDays: MAX_TOKEN_DAYS }, request, Date.now());
    writePrivately(file, `${secret}\n`);
    return secret;
  } finally {
    await events.close();
  }
}

async function isGood(database: Database, text: string, scopes_: readonly string[]): Promise<boolean> {
  const presented = parseToken(text);
  if (presented === undefined) return false;
  const { state } = await readSubject(database.db, ACCESS_STREAM, tokenSubject(presented.id));
  if (state === null) return false;
  const token = state as TokenState;
  const same =
    token.secretSha256 === secretHash(presented.secret).toString('hex') && scopes_.every((scope) => token.scopes.includes(scope));
  return same && token.revokedAt === null && Date.parse(token.expiresAt) - Date.now() > RENEW_BEFORE_MS;
}
