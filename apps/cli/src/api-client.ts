import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';

import type { Connection } from './connection.js';
import { CommandFailure, exitStatus } from './exit-status.js';
import { ApiRefusal, type Problem, refusalOf } from './problem-report.js';
import { lostConnection, outOfTime, type TransportFault, transportFault, unreachable } from './transport-faults.js';
import { UsageError } from './usage-error.js';

/** A list is the parameter several times. */
export type QueryValue = string | number | boolean | readonly string[] | undefined;

export interface ApiRequest {
  readonly query?: Readonly<Record<string, QueryValue>>;
  /** A value that is sent as JSON. */
  readonly body?: unknown;
  /** A body that is JSON already, sent byte for byte. */
  readonly json?: string;
  readonly accept?: string;
  readonly ifMatch?: string | undefined;
  readonly timeoutMs?: number;
}

/** An answer that says yes. */
export interface ApiAnswer<T = unknown> {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body when it is JSON, else undefined. */
  readonly body: T;
}

const RETRY_AFTER_MS = 500;
const LONGEST_RETRY_AFTER_MS = 5_000;

/**
 * The public HTTP API, one request at a time. Every request has a deadline. Every write carries an Idempotency-Key, so that it can be sent once more when
 * its outcome is not known (503 `outcome_unknown`, or a connection that was lost), and is carried out once.
 */
export class ApiClient {
  constructor(
    readonly connection: Connection,
    private readonly timeoutMs: number,
  ) {}

  /** @throws ApiRefusal for an answer that says no, CommandFailure when there is none. */
  get<T>(path: string, request: Omit<ApiRequest, 'body' | 'json' | 'ifMatch'> = {}): Promise<ApiAnswer<T>> {
    return this.#send('GET', path, request);
  }

  /** As `get`, for what changes something. */
  write<T>(method: 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, request: ApiRequest = {}): Promise<ApiAnswer<T>> {
    return this.#send(method, path, request, randomUUID());
  }

  /** Opens an answer that comes bit by bit. The deadline is for its head; `signal` ends it. */
  async open(path: string, request: ApiRequest & { headers?: Readonly<Record<string, string>> }, signal: AbortSignal): Promise<Response> {
    const url = this.#url(path, request.query);
    const head = new AbortController();
    const deadline = setTimeout(() => head.abort(new DOMException('', 'TimeoutError')), request.timeoutMs ?? this.timeoutMs);
    try {
      const response = await fetch(url, {
        headers: { ...this.#headers(request), ...request.headers },
        redirect: 'manual',
        signal: AbortSignal.any([signal, head.signal]),
      });
      if (response.ok) return response;
      throw this.#refusal(response, await response.text());
    } catch (error) {
      throw error instanceof CommandFailure || signal.aborted ? error : this.#failure(transportFault(error), 'GET', url);
    } finally {
      clearTimeout(deadline);
    }
  }

  async #send<T>(method: string, path: string, request: ApiRequest, idempotencyKey?: string): Promise<ApiAnswer<T>> {
    const url = this.#url(path, request.query);
    const body = request.json ?? (request.body === undefined ? undefined : JSON.stringify(request.body));
    const headers = {
      ...this.#headers(request),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
    };
    const once = async (): Promise<ApiAnswer<T> | Retry> => {
      try {
        const signal = AbortSignal.timeout(request.timeoutMs ?? this.timeoutMs);
        const response = await fetch(url, { method, headers, signal, redirect: 'manual', ...(body === undefined ? {} : { body }) });
        const text = await response.text();
        if (response.ok) {
          if (request.accept === undefined && !isJson(response)) throw this.#foreign(response);
          return { status: response.status, headers: response.headers, text, body: this.#parse<T>(response, text) };
        }
        const failure = this.#refusal(response, text);
        return isUnknownOutcome(response.status, failure.problem)
          ? { retry: failure, afterMs: retryAfterMs(response) }
          : Promise.reject(failure);
      } catch (error) {
        if (error instanceof CommandFailure) throw error;
        const fault = transportFault(error);
        const failure = this.#failure(fault, method, url);
        if (fault.kind === 'lost') return { retry: failure, afterMs: RETRY_AFTER_MS };
        throw failure;
      }
    };
    const first = await once();
    if (!('retry' in first)) return first;
    await pause(first.afterMs);
    const second = await once().catch((error: unknown) => Promise.reject(afterLoss(first.retry, error)));
    if ('retry' in second) throw second.retry;
    return second;
  }

  #headers(request: ApiRequest): Record<string, string> {
    const { token } = this.connection;
    return {
      accept: request.accept ?? 'application/json',
      'user-agent': 'chancery-cli',
      ...(token === undefined ? {} : { authorization: `Bearer ${token.value}` }),
      ...(request.ifMatch === undefined ? {} : { 'if-match': request.ifMatch }),
    };
  }

  #url(path: string, query: ApiRequest['query'] = {}): string {
    const given = Object.entries(query).flatMap(([name, value]): [string, string][] => {
      if (value === undefined) return [];
      return (Array.isArray(value) ? value : [value]).map((one) => [name, String(one)]);
    });
    const parameters = new URLSearchParams(given).toString();
    return `${this.connection.url}${path}${parameters === '' ? '' : `?${parameters}`}`;
  }

  #parse<T>(response: Response, text: string): T {
    if (!isJson(response)) return undefined as T;
    try {
      return JSON.parse(text) as T;
    } catch {
      throw this.#foreign(response);
    }
  }

  #refusal(response: Response, text: string) {
    if (response.status < 400 || !isJson(response)) throw this.#foreign(response);
    return refusalOf(response.status, (this.#parse<Problem | null>(response, text) ?? {}) as Problem, this.connection);
  }

  /** An answer that Chancery does not give: something else listens there. */
  #foreign(response: Response): CommandFailure {
    const { url, urlSource } = this.connection;
    const where = response.headers.get('location');
    const said = where === null ? `HTTP ${response.status}, ${response.headers.get('content-type') ?? 'no content type'}` : 'a redirection';
    return new CommandFailure(
      `What answers at ${url} does not speak as Chancery's API does (${said}).`,
      exitStatus.failed,
      `The address came from ${urlSource}; --api or CHANCERY_API name another.`,
    );
  }

  #failure(fault: TransportFault, method: string, url: string): CommandFailure {
    if (fault.kind === 'timeout') return outOfTime(method, this.connection, this.timeoutMs);
    return fault.kind === 'lost' ? lostConnection(method, this.connection, fault) : unreachable(this.connection, fault, url);
  }
}

/** When the second attempt got no answer at all, the first one's doubt remains and is what must be told. */
function afterLoss(first: CommandFailure, second: unknown): unknown {
  if (second instanceof ApiRefusal || !(second instanceof CommandFailure)) return second;
  return new CommandFailure(`${first.message}\n${second.message}`, second.status, first.nextStep);
}

interface Retry {
  readonly retry: CommandFailure;
  readonly afterMs: number;
}

function isJson(response: Response): boolean {
  return /^application\/(?:[\w.+-]+\+)?json\b/.test(response.headers.get('content-type') ?? '');
}

function isUnknownOutcome(status: number, problem: Problem): boolean {
  return status === 503 && problem.code === 'outcome_unknown';
}

function retryAfterMs(response: Response): number {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  return Number.isFinite(seconds) ? Math.min(LONGEST_RETRY_AFTER_MS, Math.max(RETRY_AFTER_MS, seconds * 1000)) : RETRY_AFTER_MS;
}

/**
 * A path of these steps, each escaped.
 * @throws UsageError for `.`, `..` and nothing: a URL would make something else of them.
 */
export function apiPath(...steps: readonly (string | number)[]): string {
  return steps
    .map((step) => {
      const text = String(step);
      if (text === '' || text === '.' || text === '..') throw new UsageError(`"${text}" cannot be the name of anything.`);
      if (/\p{Cs}/u.test(text)) throw new UsageError('A name must be well-formed text.');
      return `/${encodeURIComponent(text)}`;
    })
    .join('');
}

/** A path below a gateway. */
export function gatewayPath(gateway: string, ...steps: readonly (string | number)[]): string {
  return apiPath('v1', 'gateways', gateway, ...steps);
}
