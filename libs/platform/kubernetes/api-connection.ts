import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest, type RequestOptions } from 'node:https';

/** Where an API server is and how one shows who one is. `credentials` is asked for each request: tokens and authorities are replaced while we run. */
export interface ApiAccess {
  readonly server: string;
  credentials(): Promise<Pick<RequestOptions, 'ca' | 'cert' | 'key' | 'headers' | 'rejectUnauthorized' | 'servername' | 'agent'>>;
}

/** The API server answered, and said no. */
export class ApiFault extends Error {
  override readonly name = 'ApiFault';
  constructor(
    readonly status: number,
    message: string,
    /** How long it asks to be left alone. */
    readonly retryAfterMs: number | undefined,
  ) {
    super(message);
  }
}

interface Wanted {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly body?: unknown;
  readonly signal?: AbortSignal | undefined;
}

/** To the first byte of an answer. A list of a large cluster takes a second or two. */
const ANSWER_DEADLINE_MS = 15_000;
const MOST_FAULT_BYTES = 64 * 1024;

/** Requests to one API server. */
export class ApiConnection {
  readonly #access: ApiAccess;
  readonly #agent: HttpAgent | HttpsAgent;

  constructor(access: ApiAccess) {
    this.#access = access;
    this.#agent = access.server.startsWith('https:') ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true });
  }

  close(): void {
    this.#agent.destroy();
  }

  /** One object, or the answer to a change. @throws ApiFault, or the error of the connection. */
  async json<T>(wanted: Wanted): Promise<T> {
    const answer = await this.open(wanted);
    return JSON.parse(await textOf(answer)) as T;
  }

  /** An answer whose body is still to come. @throws ApiFault when its status is not 2xx. */
  async open(wanted: Wanted): Promise<IncomingMessage> {
    const answer = await this.#send(wanted);
    const status = answer.statusCode ?? 0;
    if (status >= 200 && status < 300) return answer;
    const text = await textOf(answer, MOST_FAULT_BYTES).catch(() => '');
    const after = Number(answer.headers['retry-after']);
    throw new ApiFault(status, `${status} ${messageOf(text)}`, after > 0 ? after * 1_000 : undefined);
  }

  async #send({ method = 'GET', path, query = {}, body, signal }: Wanted): Promise<IncomingMessage> {
    const url = new URL(this.#access.server.replace(/\/$/, '') + path);
    for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, String(value));
    const { headers, ...credentials } = await this.#access.credentials();
    const text = body === undefined ? undefined : JSON.stringify(body);
    const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
    return new Promise((resolve, reject) => {
      const request = send(url, {
        agent: this.#agent,
        ...credentials,
        method,
        headers: { accept: 'application/json', ...(text === undefined ? {} : { 'content-type': type }), ...headers },
        ...(signal === undefined ? {} : { signal }),
      });
      const deadline = setTimeout(() => request.destroy(new Error('the API server does not answer')), ANSWER_DEADLINE_MS);
      request.once('close', () => clearTimeout(deadline));
      request.once('error', reject);
      request.once('response', (answer) => {
        clearTimeout(deadline);
        resolve(answer);
      });
      request.end(text);
    });
  }
}

async function textOf(answer: IncomingMessage, most = Number.POSITIVE_INFINITY): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > most) break;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** What a Status object says; a proxy in between may say anything. */
function messageOf(text: string): string {
  try {
    const { message } = JSON.parse(text) as { message?: unknown };
    if (typeof message === 'string') return message;
  } catch {
    // Not a Status.
  }
  return text.slice(0, 200);
}
