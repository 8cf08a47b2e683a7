import { existsSync } from 'node:fs';
import type { Command } from 'commander';

import { readCliConfig } from '#platform/config/cli-config.js';
import type { KeyRing } from '#platform/vault/key-file.js';

import { CommandFailure, exitStatus } from './exit-status.js';
import { table } from './output/table.js';
import { addGroup } from './session.js';
import { UsageError } from './usage-error.js';
import { withDatabase } from './with-database.js';

const FILE = '--file <file>';
const FILE_TEXT = 'the key file (CHANCERY_KEK_FILE)';

interface Flags {
  readonly file?: string;
}

/** `keys ...`: the file with the keys that private keys are kept under, on the machine where it is. */
export function addKeyCommands(program: Command): void {
  const keys = addGroup(program, {
    name: 'keys',
    description: 'the file with the keys that private keys are kept under in the database: make, add, list, rotate, remove',
    examples: ['chancery keys add && chancery keys rotate', 'chancery keys list'],
  });
  const part = (name: string, description: string, example: string) =>
    addGroup(keys, { name, description, examples: [example] }).option(FILE, FILE_TEXT);
  part('make', 'make a key file with one key; one that exists is refused', 'chancery keys make --file /etc/chancery/keys.json').action(
    make,
  );
  part('add', 'add a key to the file; what is new is kept under it from now on', 'chancery keys add').action(add);
  part('list', 'the keys of the file, and how many secrets are under each (needs DATABASE_URL)', 'chancery keys list').action(list);
  part(
    'rotate',
    'bring every secret under the key that writes (needs DATABASE_URL); may be broken off and begun again at any time',
    'chancery keys rotate',
  ).action(rotate);
  part(
    'remove',
    'take a key out of the file; refused while a secret is under it (needs DATABASE_URL)',
    'chancery keys remove 2026-11-29-5f3a21',
  )
    .argument('<id>', 'as list shows it')
    .action(remove);
}

function fileOf({ file }: Flags): string {
  const path = file ?? readCliConfig().kekFile;
  if (path === undefined) throw new UsageError('Which file? Say --file, or set CHANCERY_KEK_FILE.');
  return path;
}

async function make(flags: Flags): Promise<void> {
  const { newKeyId, withNewKey, writeKeyFile } = await import('#platform/vault/key-file.js');
  const path = fileOf(flags);
  if (existsSync(path)) throw new UsageError(`${path} exists; chancery keys add gives it another key.`);
  const ring = withNewKey(undefined, newKeyId());
  writeKeyFile(path, ring);
  process.stdout.write(`Made: ${path} with the key ${ring.writes.id}. Keep a copy where the database's backups are not.\n`);
}

async function add(flags: Flags): Promise<void> {
  const { newKeyId, readKeyFile, withNewKey, writeKeyFile } = await import('#platform/vault/key-file.js');
  const path = fileOf(flags);
  const ring = withNewKey(readKeyFile(path), newKeyId());
  writeKeyFile(path, ring);
  process.stdout.write(
    `Added: ${ring.writes.id}, which writes from now on. Bring the file to every api and worker, then: chancery keys rotate\n`,
  );
}

async function list(flags: Flags): Promise<void> {
  const { readKeyFile } = await import('#platform/vault/key-file.js');
  const { countSecrets } = await import('#platform/vault/rotation.js');
  const ring = readKeyFile(fileOf(flags));
  const counts = await withDatabase(({ db }) => countSecrets(db));
  const ids = [...new Set([...ring.all.keys(), ...counts.keys()])].sort();
  process.stdout.write(
    table(ids, [
      { title: 'KEY', text: (id) => id },
      { title: 'SECRETS', text: (id) => counts.get(id) ?? 0, align: 'right' },
      { title: 'STANDING', text: (id) => standing(ring, id) },
    ]),
  );
}

function standing(ring: KeyRing, id: string): string {
  if (!ring.all.has(id)) return 'missing from the file';
  return ring.writes.id === id ? 'writes' : 'reads';
}

async function rotate(flags: Flags): Promise<void> {
  const { readKeyFile } = await import('#platform/vault/key-file.js');
  const { rotateSecrets } = await import('#platform/vault/rotation.js');
  const { useFailpoints } = await import('#platform/failpoint/failpoint.js');
  useFailpoints(readCliConfig().failpointDir);
  const ring = readKeyFile(fileOf(flags));
  const { rewrapped, failed } = await withDatabase(({ db }) => rotateSecrets(db, ring));
  process.stdout.write(`${rewrapped} secrets were brought under the key ${ring.writes.id}.\n`);
  if (failed.length === 0) return;
  const lines = failed.map(({ gateway, name, reason }) => `  ${gateway}/${name}: ${reason}`);
  throw new CommandFailure(`${failed.length} could not be, and stay as they are:\n${lines.join('\n')}`, exitStatus.failed);
}

async function remove(id: string, flags: Flags): Promise<void> {
  const { readKeyFile, writeKeyFile } = await import('#platform/vault/key-file.js');
  const { withoutKey } = await import('#platform/vault/rotation.js');
  const path = fileOf(flags);
  const ring = readKeyFile(path);
  writeKeyFile(path, await withDatabase(({ db }) => withoutKey(db, ring, id)));
  process.stdout.write(`Removed: ${id}. A backup of the database from before the rotation needs it still: keep it with the backup.\n`);
}
