import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

import { CommandFailure, exitStatus } from './exit-status.js';

/** What `login` keeps: one address and the token for it. */
export interface StoredLogin {
  readonly api: string;
  readonly token: string;
}

/** `$XDG_CONFIG_HOME/chancery/config.json`, else `~/.config/chancery/config.json`. */
export function storedLoginPath(configHome: string | undefined): string {
  return join(configHome ?? join(homedir(), '.config'), 'chancery', 'config.json');
}

/** @throws CommandFailure for a file that is there and cannot be used; undefined when there is none. */
export function readStoredLogin(path: string): StoredLogin | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw unusable(path, error);
  }
  const { api, token } = parse(text);
  if (typeof api === 'string' && URL.canParse(api) && typeof token === 'string') return { api, token };
  throw unusable(path);
}

function parse(text: string): Record<string, unknown> {
  try {
    return (JSON.parse(text) as Record<string, unknown> | null) ?? {};
  } catch {
    return {};
  }
}

/** Writes it so that nobody else can read it at any moment: a new file with mode 0600 in a folder with 0700, renamed into place. */
export function writeStoredLogin(path: string, login: StoredLogin): void {
  const beside = `${path}.${process.pid}`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    rmSync(beside, { force: true });
    writeFileSync(beside, `${JSON.stringify(login, null, 2)}\n`, { mode: 0o600, flag: 'wx' });
    chmodSync(beside, 0o600);
    renameSync(beside, path);
  } catch (error) {
    rmSync(beside, { force: true });
    throw new CommandFailure(`The login cannot be kept in ${path}: ${(error as Error).message}`, exitStatus.failed);
  }
}

/** Forgets it. @returns false when there was nothing to forget. */
export function removeStoredLogin(path: string): boolean {
  try {
    rmSync(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw unusable(path, error);
  }
}

function unusable(path: string, error?: unknown): CommandFailure {
  const why = error instanceof Error ? `: ${error.message}` : ' as it is.';
  return new CommandFailure(`${path}, where the login is kept, cannot be used${why}`, exitStatus.failed, 'chancery login writes it anew.');
}
