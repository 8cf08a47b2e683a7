import type { IncomingMessage, ServerResponse } from 'node:http';

import { RouteConfig } from '@nestjs/platform-fastify';
import type { FastifyRequest } from 'fastify';

import { HttpProblem } from './http-problem.js';

/** The most a request's body may be. A mapping is a few hundred bytes; this leaves room for labels and headers, not for floods. */
export const MAX_BODY_BYTES = 256 * 1024;
/** The same on a route of `@LargeBody()`, for JSON: some 100,000 mappings. */
const MAX_LARGE_JSON_BYTES = 32 * 1024 * 1024;
/** The same for YAML, whose parser is slow: see `readLongYaml`. */
const MAX_LARGE_YAML_BYTES = 1024 * 1024;
/** What the large bodies of a process may hold together. Whoever comes beyond it is told to come again, so that no crowd of writers takes the memory. */
const MAX_HELD_BYTES = 256 * 1024 * 1024;

const LARGE = 'largeBody';

/** Opens a route to large bodies, of callers whom the adapter's `admit` lets through. The handler reads them with `@LargeJsonBody()` or `@JsonOrYamlBody()`. */
export const LargeBody = () => RouteConfig({ [LARGE]: true });

/**
 * May this caller send a large body? Asked before a byte of it is kept. False: the caller's body is dropped, and the guard says why.
 * It throws when it cannot be told (a database that is away).
 */
export type Admit = (request: FastifyRequest) => Promise<boolean>;

export type BodyFormat = 'json' | 'yaml';

const yamlTypes = new Set(['application/yaml', 'application/x-yaml', 'text/yaml']);

/** The media type of the body without its parameters, in lower case; '' when none is given. */
export function mediaTypeOf(request: FastifyRequest): string {
  return (request.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
}

/** What a media type says the body is; undefined for one that no route takes. */
export function formatOf(mediaType: string): BodyFormat | undefined {
  if (mediaType === 'application/json' || mediaType === 'application/merge-patch+json') return 'json';
  return yamlTypes.has(mediaType) || mediaType.endsWith('+yaml') ? 'yaml' : undefined;
}

/** Reads bodies as they come, each up to what its route and its caller may send. Nothing is parsed: the guard has not spoken yet. */
export class BodyReader {
  readonly #admit: Admit;
  readonly #mostHeld: number;
  #held = 0;
  readonly #heldBy = new WeakMap<FastifyRequest, number>();

  /** `held`: how many bytes the large bodies may hold together. */
  constructor(admit: Admit, { held = MAX_HELD_BYTES }: { readonly held?: number } = {}) {
    this.#admit = admit;
    this.#mostHeld = held;
  }

  /**
   * The body's bytes. A body that a large route does not take is an HttpProblem in their place, which the handler's decorator throws: then the guard
   * speaks first. @throws HttpProblem 413 elsewhere, 400 for a body that broke off.
   */
  async read(request: FastifyRequest, payload: IncomingMessage): Promise<Buffer | HttpProblem> {
    const declared = Number(request.headers['content-length'] ?? Number.NaN);
    if (!isLarge(request) || declared <= MAX_BODY_BYTES)
      return this.#upTo(MAX_BODY_BYTES, declared, payload, () => refuseLarge(MAX_BODY_BYTES));
    // Until the caller is known, what has come waits in the socket; nothing is read.
    const limit = (await this.#admit(request)) ? largeLimit(request) : MAX_BODY_BYTES;
    try {
      const hold = (bytes: number) => this.#hold(request, bytes);
      return await this.#upTo(limit, declared, payload, () => refuseLarge(limit, formatOf(mediaTypeOf(request))), hold);
    } catch (error) {
      if (!(error instanceof HttpProblem) || error.status === 400) throw error;
      payload.resume(); // dropped as it comes; the time limit of requests ends it
      this.#release(request);
      return error;
    }
  }

  /** To be called when a request begins: what is held of its body is given back when it is over, whichever way. */
  watch(request: FastifyRequest, answer: ServerResponse): void {
    if (isLarge(request)) answer.once('close', () => this.#release(request));
  }

  #release(request: FastifyRequest): void {
    this.#held -= this.#heldBy.get(request) ?? 0;
    this.#heldBy.delete(request);
  }

  #upTo(
    limit: number,
    declared: number,
    payload: IncomingMessage,
    tooLarge: () => HttpProblem,
    hold = (_bytes: number) => true,
  ): Promise<Buffer> {
    if (declared > limit) return Promise.reject(tooLarge());
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      let received = 0;
      const end = (settle: () => void) => {
        payload.off('data', onData).off('end', onEnd).off('error', onError);
        settle();
      };
      const onData = (chunk: Buffer) => {
        received += chunk.length;
        if (received > limit) end(() => reject(tooLarge()));
        else if (!hold(chunk.length)) end(() => reject(crowded()));
        else chunks.push(chunk);
      };
      const onEnd = () =>
        end(() => (declared >= 0 && declared !== received ? reject(brokenOff()) : resolve(Buffer.concat(chunks, received))));
      const onError = () => end(() => reject(brokenOff()));
      payload.on('data', onData).on('end', onEnd).on('error', onError).resume();
    });
  }

  /** Counts what a large body holds until its request is answered; false when that is too much for all of them together. */
  #hold(request: FastifyRequest, bytes: number): boolean {
    this.#heldBy.set(request, (this.#heldBy.get(request) ?? 0) + bytes);
    this.#held += bytes;
    return this.#held <= this.#mostHeld;
  }
}

function isLarge(request: FastifyRequest): boolean {
  return (request.routeOptions.config as unknown as Record<string, unknown> | undefined)?.[LARGE] === true;
}

function largeLimit(request: FastifyRequest): number {
  const format = formatOf(mediaTypeOf(request));
  if (format === undefined) return MAX_BODY_BYTES; // refused for its type, whatever it holds
  return format === 'json' ? MAX_LARGE_JSON_BYTES : MAX_LARGE_YAML_BYTES;
}

function refuseLarge(limit: number, format?: BodyFormat): HttpProblem {
  return bodyTooLarge(
    limit,
    limit === MAX_LARGE_YAML_BYTES && format === 'yaml' ? ` As JSON (application/json) it may be ${MAX_LARGE_JSON_BYTES}.` : '',
  );
}

/** 413: the body is larger than may be; `way` says what else would do. */
export function bodyTooLarge(limit: number, way = ''): HttpProblem {
  const message = `The body may be at most ${limit} bytes.${way}`;
  return new HttpProblem(413, 'body_too_large', message, { errors: [{ pointer: '', code: 'body_too_large', message }] });
}

function crowded(): HttpProblem {
  const message = 'Too many large bodies are being read at this moment. Nothing was changed; try again in a few seconds.';
  return new HttpProblem(503, 'bodies_crowded', message, { headers: { 'Retry-After': '5' } });
}

function brokenOff(): HttpProblem {
  return new HttpProblem(400, 'content_length_wrong', 'The body is not as long as Content-Length says.');
}
