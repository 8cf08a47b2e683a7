import { randomUUID } from 'node:crypto';
import { request as httpRequest, type OutgoingHttpHeaders } from 'node:http';
import { Writable } from 'node:stream';

import { issueToken } from '#features/access/create-token.js';
import { readApiConfig } from '#platform/config/api-config.js';
import { sqlQuery } from '#platform/database/database.js';
import type { Json } from '#platform/kernel/json.js';
import { createLog } from '#platform/log/log.js';

import { createTestDatabase, type TestDatabase } from '../../test/support/test-database.js';
import { type Api, type ApiOptions, startApi } from './src/api.js';

export interface TestAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  readonly json: any;
}

export interface TestRequest {
  readonly token?: string | null;
  readonly body?: Json;
  readonly raw?: string | Buffer;
  readonly headers?: OutgoingHttpHeaders;
}

/** The real api on a real database of its own, with tokens of every kind. */
export interface TestApi {
  readonly api: Api;
  readonly database: TestDatabase;
  /** Holds read, write, deploy, admin, certificates and audit. */
  readonly token: string;
  /** Everything that the api logged, as text. */
  readonly logged: () => string;
  ask(method: string, path: string, request?: TestRequest): Promise<TestAnswer>;
  makeToken(scopes: readonly string[], options?: { daysAgo?: number; days?: number }): Promise<{ token: string; id: string }>;
  /** How many events there are in all streams, those aside that only say that somebody asked: refusals, and the first use of a token. */
  countEvents(): Promise<number>;
  /** Head and claims of every gateway, to compare before and after. */
  fingerprint(): Promise<string>;
  close(): Promise<void>;
}

const DAY_MS = 86_400_000;

/** Starts one per test file. `env` is the process' environment; `reach` may put something between it and its database. */
export async function startTestApi(
  env: Readonly<Record<string, string>> = {},
  options: Partial<ApiOptions> = {},
  reach: (url: string) => Promise<string> = async (url) => url,
): Promise<TestApi> {
  const database = await createTestDatabase();
  const lines: string[] = [];
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString('utf8'));
      done();
    },
  });
  const config = readApiConfig({
    CHANCERY_API_LISTEN: '127.0.0.1:0',
    DATABASE_URL: await reach(database.url),
    CHANCERY_ALLOW_LOOPBACK_UPSTREAMS: 'true',
    ...env,
  });
  const api = await startApi({ config, log: createLog({ process: 'api', level: 'debug', destination }), ...options });
  await api.ready;
  const makeToken: TestApi['makeToken'] = async (scopes, { daysAgo = 0, days = 1 } = {}) => {
    const request = { context: { commandId: randomUUID(), actor: 'system' }, dryRun: false };
    const issued = await issueToken(
      api.events,
      { name: scopes.join(' '), scopes: [...scopes], expiresInDays: days },
      request,
      Date.now() - daysAgo * DAY_MS,
    );
    return { token: issued.secret, id: issued.state.id };
  };
  const { token } = await makeToken(['read', 'write', 'deploy', 'admin', 'certificates', 'audit']);
  const count = async (text: string) => JSON.stringify(await sqlQuery(api.database.db, text, []));
  return {
    api,
    database,
    token,
    logged: () => lines.join(''),
    ask: (method, path, request = {}) => ask(new URL(api.url), method, path, { token, ...request }),
    makeToken,
    countEvents: async () =>
      JSON.parse(await count("SELECT count(*) AS n FROM chancery.event WHERE stream <> 'refusals' AND type <> 'TokenFirstUsed'"))[0].n,
    fingerprint: () =>
      count(`SELECT (SELECT json_agg(s ORDER BY s.stream) FROM chancery.stream s WHERE s.stream LIKE 'gateway/%') AS heads,
                    (SELECT json_agg(c ORDER BY c.stream, c.claim) FROM chancery.claim c WHERE c.stream LIKE 'gateway/%') AS claims`),
    close: async () => {
      await api.close();
      await database.drop();
    },
  };
}

/** One request over real HTTP; the path goes out exactly as given (no normalisation, unlike fetch). */
export function ask(base: URL, method: string, path: string, request: TestRequest): Promise<TestAnswer> {
  const body = request.raw ?? (request.body === undefined ? undefined : JSON.stringify(request.body));
  const headers: OutgoingHttpHeaders = {
    ...(request.token == null ? {} : { authorization: `Bearer ${request.token}` }),
    ...(body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
    ...request.headers,
  };
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest({ host: base.hostname, port: base.port, method, path, headers, timeout: 20_000 }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('error', reject);
      incoming.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        const isJson = /[/+]json/.test(incoming.headers['content-type'] ?? '') && text !== '';
        resolve({
          status: incoming.statusCode ?? 0,
          headers: incoming.headers as Record<string, string>,
          text,
          json: isJson ? JSON.parse(text) : undefined,
        });
      });
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer to ${method} ${path} in 20 s`)));
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}
