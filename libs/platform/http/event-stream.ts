import { once } from 'node:events';
import { PassThrough, Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

import { StreamableFile } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';

/** How often the database is asked for news while someone watches, and how often a silent stream shows that it lives. Milliseconds. */
const LOOK_MS = 250;
const HEARTBEAT_MS = 15_000;
/** A watcher comes back with a new request after this; no stream is held for ever. */
const LONGEST_MS = 15 * 60_000;

export interface Watched<T> {
  /** The name of the events. */
  readonly event: string;
  readonly first: T;
  readonly read: () => Promise<T>;
  /** True for a state after which nothing follows. */
  readonly ended: (value: T) => boolean;
}

/** A list that only grows. */
export interface Tailed<T> {
  /** The name of the events. */
  readonly event: string;
  /** The first ones after a place, oldest first; none when there is nothing new. Throwing cuts the stream off. */
  readonly read: (after: number) => Promise<readonly T[]>;
  /** Where an item stands: the id of its event, and so the Last-Event-ID of a watcher that comes back. */
  readonly place: (item: T) => number;
  /** Where to begin. */
  readonly after: number;
}

export function wantsEventStream(request: FastifyRequest): boolean {
  return accepts(request, 'text/event-stream');
}

/** Whether the Accept header names this media type itself. */
export function accepts(request: FastifyRequest, mediaType: string): boolean {
  return (request.headers.accept ?? '').split(',').some((type) => type.split(';')[0]?.trim().toLowerCase() === mediaType);
}

/** Server-sent events. One per process, so that all streams can be ended when the process ends. */
export class EventStreams {
  readonly #ending = new AbortController();

  /** Ends every stream; their watchers come back to another process, or to this one's successor. */
  end(): void {
    this.#ending.abort();
  }

  /**
   * Sends a thing as it is, after each change, and a last time when it has ended, whereupon the stream ends too. The event id is the count
   * of what was sent on this stream; a watcher that comes back gets the present state first, which is all it needs.
   */
  send<T>(request: FastifyRequest, reply: FastifyReply, watched: Watched<T>): StreamableFile {
    return this.#open(request, reply, (stream, end) => pump(stream, watched, end));
  }

  /** Sends what is in a list after a place, and from then on what is added to it. A watcher that is slow to read is read for slowly. */
  tail<T>(request: FastifyRequest, reply: FastifyReply, tailed: Tailed<T>): StreamableFile {
    return this.#open(request, reply, (stream, end) => pumpTail(stream, tailed, end));
  }

  /** Sends text as it is made, no faster than it is read. It is cut off, and so seen not to be whole, when making it fails or the process ends. */
  text(pieces: AsyncIterable<string>, type: string): StreamableFile {
    return new StreamableFile(Readable.from(pieces, { objectMode: false, signal: this.#ending.signal }), { type });
  }

  #open(request: FastifyRequest, reply: FastifyReply, work: (stream: PassThrough, end: AbortSignal) => Promise<void>): StreamableFile {
    const stream = new PassThrough();
    const gone = new AbortController();
    request.raw.socket.once('close', () => gone.abort());
    stream.once('close', () => gone.abort());
    reply.header('X-Accel-Buffering', 'no');
    work(stream, AbortSignal.any([gone.signal, this.#ending.signal])).then(
      () => stream.end(),
      () => stream.destroy(), // Cut off rather than ended: the watcher sees that something is missing, and comes back.
    );
    return new StreamableFile(stream, { type: 'text/event-stream; charset=utf-8' });
  }
}

async function pump<T>(stream: PassThrough, watched: Watched<T>, end: AbortSignal): Promise<void> {
  const start = Date.now();
  let value = watched.first;
  let sent = '';
  let sentAt = 0;
  for (let id = 1; Date.now() - start < LONGEST_MS; ) {
    const data = JSON.stringify(value);
    if (data !== sent) {
      stream.write(`id: ${id}\nevent: ${watched.event}\ndata: ${data}\n\n`);
      id += 1;
      [sent, sentAt] = [data, Date.now()];
    } else if (Date.now() - sentAt > HEARTBEAT_MS) {
      stream.write(': still here\n\n');
      sentAt = Date.now();
    }
    if (watched.ended(value)) return;
    const over = await sleep(LOOK_MS, false, { signal: end }).catch(() => true);
    if (over || end.aborted) return;
    value = await watched.read();
  }
}

async function pumpTail<T>(stream: PassThrough, tailed: Tailed<T>, end: AbortSignal): Promise<void> {
  const start = Date.now();
  let { after } = tailed;
  let sentAt = 0; // a heartbeat at once: the watcher sees that it is heard
  while (Date.now() - start < LONGEST_MS) {
    const items = await tailed.read(after);
    for (const item of items) {
      after = tailed.place(item);
      const whole = stream.write(`id: ${after}\nevent: ${tailed.event}\ndata: ${JSON.stringify(item)}\n\n`);
      if (!whole) await once(stream, 'drain', { signal: end }).catch(() => undefined); // ended: seen below
      if (end.aborted) return;
    }
    if (items.length > 0) sentAt = Date.now();
    else if (Date.now() - sentAt > HEARTBEAT_MS) {
      stream.write(': still here\n\n');
      sentAt = Date.now();
    }
    const over = items.length === 0 && (await sleep(LOOK_MS, false, { signal: end }).catch(() => true));
    if (over || end.aborted) return;
  }
}
