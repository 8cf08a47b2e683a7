import { createInterface } from 'node:readline';

import { StartedProcess } from '../machine/started-process.js';
import { peerBinary } from '../peers/contender.js';

export interface FleetOptions {
  readonly folder: string;
  readonly xds: string;
  readonly clients: number;
  /** A file with a line `id token` for each client. */
  readonly nodes?: string;
  readonly cluster?: string;
  /** 5 % slow, 1 % refusing, 1 % half open. */
  readonly unhealthy: boolean;
}

/** Milliseconds until the clients of a kind had acknowledged. */
export interface Spread {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export interface FanOut {
  readonly ackMs?: number;
  readonly good: Spread;
  readonly slow: Spread;
  /** Good clients that had not acknowledged in time. */
  readonly late?: number;
  readonly error?: string;
}

export interface Trigger {
  readonly needle: string;
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface Counts {
  readonly streams: number;
  readonly holding: number;
  readonly dials: number;
  readonly bytesIn: number;
  readonly nacks: number;
}

/** The simulated Envoys, in one process of their own that also sends the changes: one clock for both ends. */
export class Fleet {
  readonly #process: StartedProcess;
  readonly #waiting: ((line: string) => void)[] = [];

  constructor({ folder, xds, clients, nodes, cluster, unhealthy }: FleetOptions) {
    const words = {
      xds,
      clients,
      ...(nodes === undefined ? {} : { nodes }),
      ...(cluster === undefined ? {} : { cluster }),
      ...(unhealthy ? { slow: 0.05, refusing: 0.01, halfopen: 0.01 } : {}),
    };
    this.#process = new StartedProcess({
      command: peerBinary('fleet') ?? '',
      words: Object.entries(words).map(([name, value]) => `-${name}=${value}`),
      ...{ folder, name: 'fleet', talk: true },
    });
    const { stdout } = this.#process.child;
    if (stdout !== null) createInterface({ input: stdout }).on('line', (line) => this.#waiting.shift()?.(line));
    this.#process.child.once('exit', () => {
      for (const each of this.#waiting.splice(0)) each('{"error":"the fleet has ended"}');
    });
  }

  /** Waits until every good client holds routes and nothing comes any more. @throws Error */
  async settle(seconds = 120): Promise<void> {
    const answer = await this.#ask<{ settled: boolean }>({ do: 'settle', seconds });
    if (!answer.settled) throw new Error(`the fleet did not settle: ${JSON.stringify(answer)} ${this.#process.said()}`);
  }

  /** Sends a change and waits until every good client has acknowledged it. */
  async change(trigger: Trigger, seconds = 60): Promise<FanOut> {
    const answer = await this.#ask<FanOut>({ do: 'change', seconds, ...trigger });
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  }

  /** As `change`, for one that somebody else sends: the clock starts now. */
  watch(needle: string, seconds = 120): Promise<FanOut> {
    return this.#ask<FanOut>({ do: 'watch', needle, seconds });
  }

  counts(): Promise<Counts> {
    return this.#ask<Counts>({ do: 'counts' });
  }

  stop(): Promise<void> {
    return this.#process.stop();
  }

  #ask<T>(command: object): Promise<T> {
    return new Promise((resolve) => {
      this.#waiting.push((line) => resolve(JSON.parse(line) as T));
      this.#process.child.stdin?.write(`${JSON.stringify(command)}\n`);
    });
  }
}
