import { connect, type Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { createSecureContext, type SecureContext, connect as secureConnect } from 'node:tls';
import { NotHttpError, readAnswer } from '#platform/envoy/http-answer.js';

/*
 * A load client that hides nothing. Ordinary HTTP clients retry a request on a broken keep-alive connection and call it success; this
 * one writes to raw sockets, sends at a constant rate whatever the answers do (open loop: a slow server gets more open requests, not
 * fewer), and puts every request into exactly one class.
 *
 * Lanes: `new` opens a connection for each request; `busy` keeps a pool of connections and uses a free one again at once, looking for a
 * close before it writes, as a careful client does; with `look: false` it does not look, as a careless one. To look is to read what the
 * kernel has: Node runs timers before it reads sockets, so one that was stalled would otherwise write where the end has long come. Whatever
 * happens once a request is written is the request's outcome.
 */

export type Outcome =
  | 'ok'
  /** The connection was not accepted. */
  | 'refused'
  /** The connection was reset before or in the answer. */
  | 'reset'
  /** Closed in order, before a byte of the answer came. */
  | 'end before a byte'
  /** Closed in order in the middle of the answer. */
  | 'end in the body'
  | 'timeout'
  | 'wrong status'
  | 'wrong body'
  /** Bytes that are not an HTTP answer, or an error of the client's own machine (no ports, no files). */
  | 'other';

export interface LoadOptions {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** With TLS: a full handshake for each connection, which is `other` unless it shows a certificate for this name, signed by this authority (PEM). */
  readonly tls?: { readonly serverName: string; readonly authority: string };
  /** Requests a second, per lane. */
  readonly rate: number;
  readonly lanes: readonly ('new' | 'busy')[];
  /** What a right answer is. By default any status 200. */
  readonly expect?: (status: number, body: string) => 'ok' | 'wrong status' | 'wrong body';
  /** Milliseconds from the send to the whole answer. */
  readonly timeoutMs?: number;
  readonly look?: boolean;
  /** Hears of every request when it is over. Times are performance.now()'s. */
  readonly onEnd?: (request: EndedRequest) => void;
}

export interface EndedRequest {
  readonly lane: 'new' | 'busy';
  readonly sentAtMs: number;
  readonly endedAtMs: number;
  readonly outcome: Outcome;
  readonly detail: string;
}

interface Lost {
  readonly lane: 'new' | 'busy';
  readonly outcome: Outcome;
  /** When it was sent, in milliseconds since the load began. */
  readonly atMs: number;
  /** From there to its end: one that was in flight when its connection was cut has taken a while. */
  readonly tookMs: number;
  readonly detail: string;
}

export interface LoadResult {
  readonly sent: number;
  readonly outcomes: Readonly<Record<Outcome, number>>;
  /** Every request that is not `ok`, the first thousand. */
  readonly lost: readonly Lost[];
  /** Milliseconds, sorted, of the requests that were right. */
  readonly latencies: readonly number[];
  /** How late the client itself sent, worst case: above a few tens of milliseconds the rate was not kept and the run says little. */
  readonly worstLagMs: number;
}

export interface RunningLoad {
  /** Requests answered so far. */
  readonly counts: () => Readonly<Record<Outcome, number>>;
  /** Stops sending, waits for what is open, and answers the result. */
  stop(): Promise<LoadResult>;
}

/** Begins at once and goes on until `stop`. */
export function startLoad(options: LoadOptions): RunningLoad {
  return new Load(options);
}

export function lostCount(result: Pick<LoadResult, 'outcomes'>): number {
  return Object.entries(result.outcomes).reduce((sum, [outcome, count]) => (outcome === 'ok' ? sum : sum + count), 0);
}

/** A connection that waits for its next request. */
interface KeptConnection {
  readonly socket: Socket;
  readonly requests: number;
  readonly freeSinceMs: number;
}

const LOST_KEPT = 1000;
const TICK_MS = 2;

class Load implements RunningLoad {
  readonly #options: LoadOptions;
  readonly #request: Buffer;
  readonly #closingRequest: Buffer;
  readonly #outcomes: Record<Outcome, number> = {
    ok: 0,
    refused: 0,
    reset: 0,
    'end before a byte': 0,
    'end in the body': 0,
    timeout: 0,
    'wrong status': 0,
    'wrong body': 0,
    other: 0,
  };
  readonly #lost: Lost[] = [];
  readonly #latencies: number[] = [];
  readonly #secureContext: SecureContext | undefined;
  readonly #idle = new Set<KeptConnection>();
  readonly #open = new Set<Promise<void>>();
  readonly #startedAt = performance.now();
  readonly #timer: NodeJS.Timeout;
  #sent = 0;
  #worstLagMs = 0;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#secureContext = options.tls === undefined ? undefined : createSecureContext({ ca: options.tls.authority });
    const head = { host: `${options.host}:${options.port}`, ...options.headers };
    const encode = (headers: Record<string, string>) =>
      Buffer.from(
        `GET ${options.path} HTTP/1.1\r\n${Object.entries(headers)
          .map(([name, value]) => `${name}: ${value}\r\n`)
          .join('')}\r\n`,
      );
    this.#request = encode(head);
    this.#closingRequest = encode({ ...head, connection: 'close' });
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  counts(): Readonly<Record<Outcome, number>> {
    return { ...this.#outcomes };
  }

  async stop(): Promise<LoadResult> {
    clearInterval(this.#timer);
    await Promise.all(this.#open);
    for (const { socket } of this.#idle) socket.destroy();
    const latencies = this.#latencies.sort((a, b) => a - b);
    return { sent: this.#sent, outcomes: this.#outcomes, lost: this.#lost, latencies, worstLagMs: this.#worstLagMs };
  }

  /** Sends what is due by now, so that a late timer changes the spacing and not the rate. */
  #tick(): void {
    const { rate, lanes } = this.#options;
    const elapsed = performance.now() - this.#startedAt;
    const due = Math.floor((elapsed * rate) / 1000) * lanes.length;
    while (this.#sent < due) {
      const lane = lanes[this.#sent % lanes.length] ?? 'new';
      const dueAt = (Math.floor(this.#sent / lanes.length) * 1000) / rate;
      this.#worstLagMs = Math.max(this.#worstLagMs, elapsed - dueAt - 1000 / rate);
      this.#sent += 1;
      const request = this.#send(lane).finally(() => this.#open.delete(request));
      this.#open.add(request);
    }
  }

  async #send(lane: 'new' | 'busy'): Promise<void> {
    const sentAt = performance.now();
    if (lane === 'busy' && this.#options.look !== false) await turn();
    const { outcome, detail } = await this.#exchange(lane);
    const endedAt = performance.now();
    const tookMs = endedAt - sentAt;
    this.#outcomes[outcome] += 1;
    this.#options.onEnd?.({ lane, sentAtMs: sentAt, endedAtMs: endedAt, outcome, detail });
    if (outcome === 'ok') this.#latencies.push(tookMs);
    else if (this.#lost.length < LOST_KEPT)
      this.#lost.push({ lane, outcome, detail, atMs: Math.round(sentAt - this.#startedAt), tookMs: Math.round(tookMs) });
  }

  #exchange(lane: 'new' | 'busy'): Promise<{ outcome: Outcome; detail: string }> {
    const { timeoutMs = 10_000 } = this.#options;
    const kept = lane === 'busy' ? this.#takeIdle() : undefined;
    const socket = kept?.socket ?? this.#connect();
    const connection =
      kept === undefined
        ? 'new connection'
        : `kept connection, ${kept.requests} requests before, free for ${Math.round(performance.now() - kept.freeSinceMs)} ms`;
    let bytes: Buffer = Buffer.alloc(0);
    let connected = kept !== undefined;
    return new Promise((resolve) => {
      const finish = (outcome: Outcome, detail: string, reusable = false) => {
        clearTimeout(deadline);
        socket.removeAllListeners();
        socket.on('error', () => socket.destroy()); // the request is over: what happens to the connection is no request's outcome
        if (reusable && lane === 'busy') this.#keepIdle({ socket, requests: (kept?.requests ?? 0) + 1, freeSinceMs: performance.now() });
        else socket.destroy();
        resolve({ outcome, detail });
      };
      const look = (closed: boolean) => {
        try {
          const answer = readAnswer(bytes, { closed });
          if (answer === null) {
            if (closed) finish(bytes.length === 0 ? 'end before a byte' : 'end in the body', connection);
            return;
          }
          const body = answer.body.toString('utf8');
          const judged = this.#options.expect?.(answer.status, body) ?? (answer.status === 200 ? 'ok' : 'wrong status');
          finish(
            judged,
            judged === 'ok' ? '' : `${answer.status}: ${body.slice(0, 100)}`,
            answer.headers.get('connection') !== 'close' && !closed,
          );
        } catch (error) {
          if (!(error instanceof NotHttpError)) throw error;
          finish('other', error.message);
        }
      };
      const deadline = setTimeout(() => finish('timeout', connected ? 'no whole answer' : 'not connected'), timeoutMs);
      socket.on(this.#secureContext === undefined ? 'connect' : 'secureConnect', () => {
        connected = true;
      });
      socket.on('data', (chunk: Buffer) => {
        bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
        look(false);
      });
      socket.on('end', () => look(true));
      socket.on('error', (error: NodeJS.ErrnoException) => finish(classify(error), `${error.code ?? error.message}, ${connection}`));
      socket.write(lane === 'busy' ? this.#request : this.#closingRequest);
    });
  }

  #connect(): Socket {
    const { host, port, tls } = this.#options;
    if (tls === undefined || this.#secureContext === undefined) return connect({ host, port, noDelay: true });
    const { serverName: servername } = tls;
    return secureConnect({ host, port, servername, secureContext: this.#secureContext, ALPNProtocols: ['http/1.1'] }).setNoDelay();
  }

  #takeIdle(): KeptConnection | undefined {
    for (const kept of this.#idle) {
      const { socket } = kept;
      this.#idle.delete(kept);
      socket.removeAllListeners();
      if (this.#options.look === false || (!socket.destroyed && !socket.readableEnded)) return kept;
      socket.destroy();
    }
    return undefined;
  }

  #keepIdle(kept: KeptConnection): void {
    const { socket } = kept;
    this.#idle.add(kept);
    if (this.#options.look === false) return;
    const drop = () => {
      this.#idle.delete(kept);
      socket.destroy();
    };
    socket.on('end', drop);
    socket.on('close', drop);
    socket.resume();
  }
}

function classify(error: NodeJS.ErrnoException): Outcome {
  if (error.code === 'ECONNREFUSED') return 'refused';
  if (error.code === 'ECONNRESET' || error.code === 'EPIPE') return 'reset';
  return 'other';
}
