import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createNode, type Node } from '#platform/envoy/envoy.fixture.js';
import { firstAnswer, type Question, WINDOW } from './bench-node.js';

/** The limit: Envoy restarted with nothing around it. */
export class BareEnvoy {
  readonly node: Node;
  readonly #baseId = 390_000_000 + (process.pid % 1_000_000);
  #epoch = -1;
  #live: ChildProcess | null = null;

  private constructor(node: Node) {
    this.node = node;
  }

  static async start(): Promise<BareEnvoy> {
    return new BareEnvoy(await createNode());
  }

  /** Milliseconds from the fork to the first answer of the new epoch; returns when the parent has gone. */
  async restart(next: (port: number, epoch: number) => Omit<Question, 'port'> & { readonly bytes: string }): Promise<number> {
    const parent = this.#live;
    this.#epoch += 1;
    const { bytes, ...question } = next(this.node.port, this.#epoch);
    writeFileSync(join(this.node.folder.path, 'bare.json'), bytes);
    const window = ['--drain-time-s', String(WINDOW.drainTimeS), '--parent-shutdown-time-s', String(WINDOW.parentShutdownTimeS)];
    const words = [
      '-c',
      'bare.json',
      '--base-id',
      String(this.#baseId),
      '--restart-epoch',
      String(this.#epoch),
      '--concurrency',
      '2',
      ...window,
    ];
    const startedAt = performance.now();
    this.#live = spawn(this.node.binary, [...words, '--log-level', 'warning'], { cwd: this.node.folder.path, env: {}, stdio: 'ignore' });
    const ms = await firstAnswer({ ...question, port: this.node.port }, startedAt);
    if (parent !== null && parent.exitCode === null && parent.signalCode === null)
      await new Promise((resolve) => parent.once('exit', resolve));
    return ms;
  }

  async dispose(): Promise<void> {
    await this.node.dispose();
  }
}
