import { appendFileSync, readFileSync } from 'node:fs';

/**
 * What everybody did and saw, in one order: one line of JSON each, on one monotonic clock. `invoke` begins something, `ok` and `fail` end it, and `info`
 * ends it without saying how: it may or may not have happened, and is never read as a failure to happen.
 */
export interface HistoryRecord {
  /** Milliseconds of one monotonic clock. */
  readonly t_mono: number;
  /** `writer/1`, `client/new`, `node/a`, `log`, `nemesis`. */
  readonly actor: string;
  readonly type: 'invoke' | 'ok' | 'fail' | 'info';
  readonly op: Operation;
  /** Joins the end of something to its beginning; unique with the operation. */
  readonly cmdId: string;
  readonly value: OperationValue;
}

/**
 * write: a change over the API. request: one through a data plane. applied: an agent took a release, by its own journal. sight: what a node says of
 * itself, by its data plane. kept: an agent made a set its last known good one. event: what the log holds in the end. node: there is such a node, or
 * it is gone. fault: from its invoke to its ok it lasts. envoy: killed (invoke) until it serves again (ok). human: somebody had to help.
 */
export type Operation = 'write' | 'call' | 'request' | 'applied' | 'sight' | 'kept' | 'event' | 'node' | 'fault' | 'envoy' | 'human';

/** Every member is for some operations only; see the checker that reads it. */
export interface OperationValue {
  readonly node?: string;
  /** The gateway's version: answered, applied, seen, kept or recorded. */
  readonly version?: number;
  /** The change that a write makes; only the harness knows it before the version is. */
  readonly revision?: number;
  readonly fence?: { readonly lineage: number; readonly term: number; readonly sequence: number };
  /** The release goes back by name: a recorded revert or pin. */
  readonly namesRevert?: boolean;
  /** A write that no data plane should take, and how many nodes may meet it. */
  readonly bad?: boolean;
  readonly mostAffected?: number;
  /** A request for something that nobody changes. */
  readonly steady?: boolean;
  /** A request on a connection of its own. */
  readonly fresh?: boolean;
  /** The thing that is asked for, in whose order versions are compared. */
  readonly thing?: string;
  /** The versions to which what answered belonged, by what it was: route, cluster, certificate. */
  readonly seen?: Readonly<Record<string, number>>;
  readonly status?: number;
  readonly retryAfter?: boolean;
  readonly deadlineMs?: number;
  /** Why there is no answer. */
  readonly reason?: string;
  /** Who the log says did it, or as whom a write was sent. */
  readonly by?: string;
  readonly scopes?: readonly string[];
  readonly name?: string;
}

/** Keeps a history, and writes it to a file line by line as it comes, so that a test that dies leaves it. */
export class HistoryWriter {
  readonly records: HistoryRecord[] = [];
  readonly #file: string | undefined;
  #next = 0;

  constructor(file?: string) {
    this.#file = file;
  }

  /** A new id, for something that begins. */
  id(): string {
    this.#next += 1;
    return `${this.#next}`;
  }

  add(record: Omit<HistoryRecord, 't_mono'> & { readonly t_mono?: number }): void {
    const whole = { t_mono: performance.now(), ...record };
    this.records.push(whole);
    if (this.#file !== undefined) appendFileSync(this.#file, `${JSON.stringify(whole)}\n`);
  }
}

/** Reads a history that was kept. @throws Error for a line that is none. */
export function readHistory(file: string): HistoryRecord[] {
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as HistoryRecord);
}
