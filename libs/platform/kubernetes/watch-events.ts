import type { IncomingMessage } from 'node:http';

import { ApiFault } from './api-connection.js';
import type { ApiObject } from './api-object.js';

export interface WatchEvent<T extends ApiObject> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: T;
}

/** The server has forgotten the version that we asked to go on from: everything must be listed again. */
export class VersionGone extends Error {
  override readonly name = 'VersionGone';
}

/** A line of a watch is never this long: an object may have 1.5 MB (etcd's limit), and JSON of it little more. */
const MOST_LINE_BYTES = 16 * 1024 * 1024;

/**
 * The events of a watch, as they arrive: those of one piece of the network together, so that a change of many objects is one change to whoever listens.
 * Ends when the server ends the watch.
 * @throws VersionGone, ApiFault for what the server says instead of an event, or the error of the connection.
 */
export async function* watchEvents<T extends ApiObject>(answer: IncomingMessage): AsyncGenerator<readonly WatchEvent<T>[]> {
  let rest = '';
  answer.setEncoding('utf8');
  for await (const chunk of answer as AsyncIterable<string>) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > MOST_LINE_BYTES) throw new Error('the API server sends an event without end');
    const events: WatchEvent<T>[] = [];
    for (const line of lines) if (line !== '') events.push(eventOf<T>(line));
    if (events.length > 0) yield events;
  }
}

function eventOf<T extends ApiObject>(line: string): WatchEvent<T> {
  const { type, object } = JSON.parse(line) as { type: WatchEvent<T>['type'] | 'ERROR'; object: T };
  if (type !== 'ERROR') return { type, object };
  const { code = 0, message = 'unknown' } = object as { code?: number; message?: string };
  if (code === 410) throw new VersionGone(message);
  throw new ApiFault(code, `${code} ${message}`, undefined);
}
