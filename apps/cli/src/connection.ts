import { existsSync, readFileSync } from 'node:fs';

import type { CliConfig } from '#platform/config/cli-config.js';
import { isLoopback } from '#platform/config/environment.js';

import { readStoredLogin } from './stored-login.js';
import { UsageError } from './usage-error.js';

export const DEFAULT_API = 'http://127.0.0.1:8888';

/** Where the API is, and as whom it is asked. The sources are for messages: an answer of 401 is understood only with where the token came from. */
export interface Connection {
  /** Without a slash at its end. */
  readonly url: string;
  readonly urlSource: string;
  readonly token: Token | undefined;
}

export interface Token {
  readonly value: string;
  readonly source: string;
}

/** What can decide it: the options that were given, the environment, and the places on disk. */
export interface ConnectionSources {
  readonly api: string | undefined;
  readonly tokenFile: string | undefined;
  readonly config: CliConfig;
  readonly storedLogin: string;
  /** `.chancery/token` of the checkout, which `bin/dev` writes. */
  readonly checkoutToken: string;
  /** `.chancery/dev.json` of the checkout: the ports that its `bin/dev` took. */
  readonly checkoutState: string;
}

/**
 * The address: `--api`, CHANCERY_API, the stored login's, that of the checkout's `bin/dev`, this machine's. The token: `--token-file`, CHANCERY_TOKEN, CHANCERY_TOKEN_FILE, the stored
 * login's, the checkout's. The last two are for one address each (the one logged in to; this machine) and are never sent to another.
 * @throws UsageError for an address or a file that cannot be used.
 */
export function findConnection(sources: ConnectionSources): Connection {
  const { api, config } = sources;
  if (api !== undefined) return withToken(apiUrl(api, '--api'), '--api', sources);
  if (config.apiUrl !== undefined) return withToken(apiUrl(config.apiUrl, 'CHANCERY_API'), 'CHANCERY_API', sources);
  const stored = readStoredLogin(sources.storedLogin);
  if (stored !== undefined) return withToken(apiUrl(stored.api, sources.storedLogin), `chancery login (${sources.storedLogin})`, sources);
  const ofDev = devApi(sources.checkoutState);
  if (ofDev !== undefined) return withToken(ofDev, `${sources.checkoutState}, which bin/dev wrote`, sources);
  return withToken(DEFAULT_API, 'the default', sources);
}

/** Where the checkout's `bin/dev` serves the API. A file that does not say so decides nothing: `bin/dev` itself complains of it. */
function devApi(state: string): string | undefined {
  if (!existsSync(state)) return undefined;
  try {
    const { ports } = JSON.parse(readFileSync(state, 'utf8')) as { ports?: { api?: unknown } };
    return Number.isInteger(ports?.api) ? `http://127.0.0.1:${ports?.api}` : undefined;
  } catch {
    return undefined;
  }
}

/** An address as it is used: http or https, no slash at its end, nothing secret within. */
export function apiUrl(text: string, source: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    throw new UsageError(`${source} must be the address of the API, such as ${DEFAULT_API} or https://chancery.example.org.`);
  }
  if (url.username !== '' || url.password !== '') {
    throw new UsageError(
      `${source} holds credentials. Put the token in a file instead (--token-file, CHANCERY_TOKEN_FILE), or use chancery login.`,
    );
  }
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}`;
}

function withToken(url: string, urlSource: string, sources: ConnectionSources): Connection {
  return { url, urlSource, token: findToken(url, sources) };
}

function findToken(url: string, { tokenFile, config, storedLogin, checkoutToken }: ConnectionSources): Token | undefined {
  if (tokenFile !== undefined) return { value: readToken(tokenFile, '--token-file'), source: `--token-file ${tokenFile}` };
  if (config.token !== undefined) return { value: checkToken(config.token, 'CHANCERY_TOKEN'), source: 'CHANCERY_TOKEN' };
  if (config.tokenFile !== undefined) {
    return { value: readToken(config.tokenFile, 'CHANCERY_TOKEN_FILE'), source: `CHANCERY_TOKEN_FILE (${config.tokenFile})` };
  }
  const stored = readStoredLogin(storedLogin);
  if (stored !== undefined && apiUrl(stored.api, storedLogin) === url) {
    return { value: checkToken(stored.token, storedLogin), source: `chancery login (${storedLogin})` };
  }
  if (isThisMachine(url) && existsSync(checkoutToken)) {
    return { value: readToken(checkoutToken, 'the checkout'), source: `${checkoutToken}, which bin/dev wrote` };
  }
  return undefined;
}

/** True for an address that no other machine can stand behind. */
export function isThisMachine(url: string): boolean {
  return isLoopback(new URL(url).hostname.replace(/^\[(.*)\]$/, '$1'));
}

/** @throws UsageError when the file cannot be read or holds no token. Its content is never repeated. */
export function readToken(file: string, source: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(
      `${source}: the token file ${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown reason'}).`,
    );
  }
  return checkToken(text, `${source}: ${file}`);
}

/** A token is one word of visible ASCII; anything else could not even be sent in a header. */
export function checkToken(text: string, source: string): string {
  const token = text.trim();
  if (/^[\x21-\x7e]{1,1024}$/.test(token)) return token;
  throw new UsageError(`${source} holds no token: it must be one word, such as chy_….`);
}
