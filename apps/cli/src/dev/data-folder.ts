import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

import { DevError } from './dev-error.js';

/** Everything that `bin/dev` keeps, below one folder. */
export interface DataFolder {
  readonly path: string;
  readonly token: string;
  readonly agentToken: string;
  readonly state: string;
  readonly run: string;
  readonly services: string;
  readonly postgres: string;
  readonly node: string;
  readonly logs: string;
  /** What pins the log from outside the database, and the key that signs it. */
  readonly anchors: string;
  readonly anchorKey: string;
  /** The keys that private keys are kept under in the database. */
  readonly keys: string;
}

/** What is remembered between starts: the ports that were chosen for it, and what was set up once. */
export interface DevState {
  readonly ports: Readonly<Record<string, number>>;
  readonly gatewayMade: boolean;
  readonly usersvcPassword?: string;
}

const MARK = '.chancery-dev';

/**
 * Opens the folder, making it where it is missing.
 * @throws DevError `not_a_data_folder` for a folder with somebody else's files in it: it is neither used nor ever wiped.
 */
export function openDataFolder(dir: string): DataFolder {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o755 }); // others may pass through: Postgres runs as another user when we are root; what is secret has its own mode
    const path = realpathSync(dir);
    if (!existsSync(join(path, MARK))) {
      if (readdirSync(path).length > 0) {
        throw new DevError(
          'not_a_data_folder',
          `${path} holds files that bin/dev did not make.`,
          'Name an empty or a new folder: bin/dev --data DIR',
        );
      }
      writeFileSync(join(path, MARK), 'Made by bin/dev: it keeps everything in this folder, and bin/dev --fresh empties it.\n');
    }
    const folder = describe(path);
    for (const part of [folder.node, folder.logs]) {
      mkdirSync(part, { recursive: true });
      chmodSync(part, 0o700);
    }
    return folder;
  } catch (error) {
    if (error instanceof DevError) throw error;
    throw new DevError(
      'data_folder_unusable',
      `${dir} cannot be used: ${(error as Error).message}.`,
      'Name a folder that you may write to: bin/dev --data DIR',
      { cause: error },
    );
  }
}

/** Empties a folder that bears our mark. The database may live elsewhere, behind a link (a home that Postgres' user cannot enter): it goes too. */
export function wipeDataFolder(folder: DataFolder): void {
  const link = join(folder.postgres, 'postgres');
  const elsewhere = existsSync(link) && lstatSync(link).isSymbolicLink() ? readlinkSync(link) : undefined;
  if (elsewhere?.startsWith('/var/lib/chancery/')) rmSync(elsewhere, { recursive: true, force: true });
  for (const entry of readdirSync(folder.path)) {
    if (entry !== MARK) rmSync(join(folder.path, entry), { recursive: true, force: true });
  }
}

export function readState(folder: DataFolder): DevState {
  if (!existsSync(folder.state)) return { ports: {}, gatewayMade: false };
  try {
    return JSON.parse(readFileSync(folder.state, 'utf8')) as DevState;
  } catch (cause) {
    throw new DevError(
      'state_unreadable',
      `${folder.state} is not what bin/dev wrote.`,
      `Remove that file (ports are then chosen again), or start afresh: bin/dev --fresh`,
      { cause },
    );
  }
}

export function writeState(folder: DataFolder, state: DevState): void {
  writePrivately(folder.state, `${JSON.stringify(state, null, 2)}\n`);
}

/** Writes a file of mode 0600 so that a reader, or a crash, meets the old one or the new one and never a part. */
export function writePrivately(file: string, text: string): void {
  writeFileSync(`${file}.new`, text, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

function describe(path: string): DataFolder {
  return {
    path,
    token: join(path, 'token'),
    agentToken: join(path, 'agent-token'),
    state: join(path, 'dev.json'),
    run: join(path, 'run.json'),
    services: join(path, 'services.yaml'),
    postgres: join(path, 'pg'),
    node: join(path, 'node'),
    logs: join(path, 'logs'),
    anchors: join(path, 'anchors.jsonl'),
    anchorKey: join(path, 'anchor-key.pem'),
    keys: join(path, 'keys.json'),
  };
}
