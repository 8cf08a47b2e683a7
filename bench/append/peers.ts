import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type pg from 'pg';

/** Where the peers are installed: outside the product's own dependencies. */
const folder = join(import.meta.dirname, '../../.cache/bench-append');

/** Installs the peers from the lockfile in peers/, once. */
export function installPeers(): void {
  if (existsSync(join(folder, 'node_modules/.package-lock.json'))) return;
  mkdirSync(folder, { recursive: true });
  for (const file of ['package.json', 'package-lock.json']) copyFileSync(join(import.meta.dirname, 'peers', file), join(folder, file));
  const result = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: folder,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (result.status !== 0) throw new Error('the peers could not be installed (npm ci)');
}

export interface EmmettStore {
  appendToStream(stream: string, events: { type: string; data: unknown }[]): Promise<unknown>;
  schema: { migrate(): Promise<unknown> };
  close(): Promise<void>;
}

export async function loadEmmett(): Promise<(url: string) => EmmettStore> {
  const entry = createRequire(join(folder, 'package.json')).resolve('@event-driven-io/emmett-postgresql');
  const module = (await import(pathToFileURL(entry).href)) as { getPostgreSQLEventStore: (url: string) => EmmettStore };
  return module.getPostgreSQLEventStore;
}

/** The files of message-db's own installer, in its order; psql is not needed for them. */
export async function installMessageDb(client: pg.Client): Promise<void> {
  const database = join(folder, 'node_modules/@eventide/message-db/database');
  const listed = (script: string) =>
    [...readFileSync(join(database, script), 'utf8').matchAll(/\$base\/(\S+\.sql)/g)].map((match) => match[1]!);
  const files = [
    'schema/message-store.sql',
    'extensions/pgcrypto.sql',
    ...readdirSync(join(database, 'tables')).map((file) => `tables/${file}`),
    ...listed('install-functions.sh'),
    ...listed('install-indexes.sh'),
  ];
  await client.query('SET search_path = message_store, public');
  for (const file of files) await client.query(readFileSync(join(database, file), 'utf8'));
}
