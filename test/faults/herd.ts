import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

import { checkout } from '../support/dev-harness.js';

/** What a herd is told: where the worker is from now on, or to say who of them holds a text. */
export type HerdOrder = { readonly port: number } | { readonly text: string };

export interface HerdSight {
  /** How many hold the text. */
  readonly holding: number;
  readonly leastDials: number;
  /** Resources that they were sent, all together. */
  readonly resources: number;
}

/**
 * Many simulated Envoys, in a process of their own: what hundreds of them compute is not to hold up whoever sends and answers the traffic that is judged.
 */
export class Herd {
  readonly #child: ChildProcess;

  constructor({ size, port, token }: { readonly size: number; readonly port: number; readonly token: string }) {
    const execArgv = ['--import', join(checkout, 'bench/machine/from-sources.mjs'), '--no-warnings'];
    this.#child = fork(join(import.meta.dirname, 'herd-process.ts'), [`${size}`, `${port}`, token], {
      execArgv,
      env: { PATH: process.env.PATH },
    });
  }

  /** From now on they dial this one. */
  aim(port: number): void {
    this.#child.send({ port } satisfies HerdOrder);
  }

  async look(text: string): Promise<HerdSight> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) throw new Error('the herd has died');
    const answer = once(this.#child, 'message', { signal: AbortSignal.timeout(30_000) });
    this.#child.send({ text } satisfies HerdOrder);
    return (await answer)[0] as HerdSight;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
  }
}
