import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { findEpochs } from '#platform/envoy/launcher.js';
import { payloadOf, scanFrames } from '#platform/envoy/live-frame.js';
import { isRunning, type ProcessIdentity, signalProcess } from '#platform/envoy/process-identity.js';
import { removeSharedMemory } from '#platform/envoy/shared-memory.js';
import { waitUntil } from '#platform/envoy/wait-until.js';
import { LiveRelease } from '#platform/xds/generated/delivery.js';

import { HouseProcess, type Release } from './house-process.js';
import { TcpProxy } from './tcp-proxy.js';

/** A node: an agent with its Envoy and its folder, and the line to the workers, which runs through a proxy. */
export class FaultNode {
  readonly folder = mkdtempSync(join(tmpdir(), 'chancery-fault-'));
  agent: HouseProcess | undefined;

  private constructor(
    readonly name: string,
    readonly port: number,
    /** Between the agent and the worker that it is aimed at. */
    readonly line: TcpProxy,
    private readonly env: Readonly<Record<string, string>>,
  ) {}

  static async open(name: string, port: number, worker: () => number, env: Readonly<Record<string, string>>): Promise<FaultNode> {
    return new FaultNode(name, port, await TcpProxy.start(worker), env);
  }

  /** Starts the agent; `more` goes over what it is told otherwise. */
  startAgent(more: Readonly<Record<string, string>> = {}, release?: Release): HouseProcess {
    const env = {
      CHANCERY_AGENT_TARGET: this.name,
      CHANCERY_AGENT_WORKER: `127.0.0.1:${this.line.port}`,
      CHANCERY_AGENT_DATA: this.folder,
      CHANCERY_AGENT_HTTP_LISTEN: `127.0.0.1:${this.port}`,
      CHANCERY_AGENT_CONCURRENCY: '1',
      ...this.env,
      ...more,
    };
    this.agent = HouseProcess.start(`agent ${this.name}`, 'agent/src/main.js', env, release);
    return this.agent;
  }

  /** The Envoys of this node that run. */
  async envoys(): Promise<readonly ProcessIdentity[]> {
    return (await findEpochs(this.folder)).map((found) => found.process);
  }

  /** kill -9 of every Envoy of the node; waits until they have gone. */
  async killEnvoys(): Promise<void> {
    const killed = await this.envoys();
    for (const one of killed) signalProcess(one, 'SIGKILL');
    const gone = await waitUntil(() => (killed.some(isRunning) ? null : true), { timeoutMs: 10_000, everyMs: 2 });
    if (gone === null) throw new Error('an Envoy did not end by SIGKILL');
  }

  /** Every release that the node took in, oldest first, as its own journal on the disk has it. */
  releases(): LiveRelease[] {
    const folder = join(this.folder, 'live');
    const names = readdirSync(folder).filter((name) => /^\d+\.segment$/.test(name));
    names.sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
    const found: LiveRelease[] = [];
    for (const name of names) {
      // A segment begins with what the ones before it came to: releases that are known are no second coming, until one is not.
      const known = new Set(found.map(({ releaseId }) => releaseId));
      let isCopy = true;
      const bytes = readFileSync(join(folder, name));
      for (const frame of scanFrames(bytes, () => undefined)) {
        const payload = frame.kind === 'release' ? payloadOf(bytes, frame) : null;
        if (payload === null) continue;
        const release = LiveRelease.decode(payload);
        isCopy &&= known.has(release.releaseId);
        if (!isCopy) found.push(release);
      }
    }
    return found;
  }

  async close(): Promise<void> {
    await this.agent?.kill();
    for (const cwd of [this.folder, join(this.folder, 'shadow')]) {
      for (const { process: envoy, baseId } of await findEpochs(cwd)) {
        signalProcess(envoy, 'SIGKILL');
        await waitUntil(() => (isRunning(envoy) ? null : true), { timeoutMs: 10_000, everyMs: 2 });
        if (baseId !== null) removeSharedMemory(baseId);
      }
    }
    await this.line.close();
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }
}
