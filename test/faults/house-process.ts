import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { waitUntil } from '#platform/envoy/wait-until.js';

import { checkout } from '../support/dev-harness.js';

/** A checkout with its build, `dist/`, and its `migrations/`. */
export interface Release {
  readonly folder: string;
}

export const thisRelease: Release = { folder: checkout };

/** One process of the product, from its build. */
export class HouseProcess {
  readonly #child: ChildProcess;
  readonly #lines: Readonly<Record<string, unknown>>[] = [];
  #stderr = '';
  #stdout = '';
  #exit: number | string | undefined;
  #isPaused = false;

  private constructor(
    readonly name: string,
    script: string,
    env: Readonly<Record<string, string>>,
    { folder }: Release,
  ) {
    const file = join(folder, 'dist/apps', script);
    if (!existsSync(file)) throw new Error(`${file} is missing: node bin/build.mjs`);
    this.#child = spawn(process.execPath, ['--enable-source-maps', file], {
      env: { PATH: process.env.PATH ?? '', NODE_COMPILE_CACHE: join(folder, 'dist/compile-cache'), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child.once('exit', (code, signal) => {
      this.#exit = signal ?? code ?? 'unknown';
    });
    createInterface({ input: this.#child.stdout as NonNullable<ChildProcess['stdout']> }).on('line', (line) => {
      this.#stdout += `${line}\n`;
      if (line.startsWith('{')) this.#lines.push(JSON.parse(line) as Readonly<Record<string, unknown>>);
    });
    this.#child.stderr?.on('data', (bytes: Buffer) => {
      this.#stderr = (this.#stderr + bytes.toString()).slice(-20_000_000);
    });
  }

  static start(name: string, script: string, env: Readonly<Record<string, string>>, release = thisRelease): HouseProcess {
    return new HouseProcess(name, script, env, release);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.#exit === undefined;
  }

  /** What it wrote to stderr: its log. */
  get log(): string {
    return this.#stderr;
  }

  /** Everything that it has written. */
  get output(): string {
    return this.#stdout + this.#stderr;
  }

  /** The newest line of this event. */
  said(event: string): Readonly<Record<string, unknown>> | undefined {
    return this.#lines.findLast((line) => line.event === event);
  }

  /** Waits until it said that it is ready; fails when it ends before. */
  async ready(timeoutMs = 30_000): Promise<Readonly<Record<string, unknown>>> {
    const line = await waitUntil(() => this.said('ready') ?? (this.isRunning ? null : { event: 'ended' }), { timeoutMs, everyMs: 5 });
    if (line === null || line.event === 'ended')
      throw new Error(`${this.name} did not become ready (${this.#exit ?? 'late'}): ${this.log.slice(-3_000)}`);
    return line;
  }

  pause(): void {
    this.#isPaused = true;
    this.#child.kill('SIGSTOP');
  }

  resume(): void {
    this.#isPaused = false;
    this.#child.kill('SIGCONT');
  }

  /** Ends it at once, as a crash does, and waits until it has gone. */
  async kill(signal: NodeJS.Signals = 'SIGKILL', withinMs = 15_000): Promise<void> {
    if (this.#isPaused) this.resume();
    if (this.isRunning) this.#child.kill(signal);
    const ended = await waitUntil(() => (this.isRunning ? null : true), { timeoutMs: withinMs, everyMs: 2 });
    if (ended === null) throw new Error(`${this.name} did not end by ${signal}`);
  }
}
