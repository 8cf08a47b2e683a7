import { setTimeout as sleep } from 'node:timers/promises';

import { probe } from '../peers/probe.js';
import type { Product } from '../peers/product.js';
import type { Certificates } from './certificates.js';

/** What a change did, and how to see that it serves; undefined when it cannot be seen from outside. */
interface Made {
  readonly what: string;
  readonly serves?: () => Promise<boolean>;
}

export interface ChangeTotals {
  readonly made: Readonly<Record<string, number>>;
  /** Changes that were seen to serve; the others were overtaken by the next one of their kind, or cannot be seen in an answer. */
  readonly seenLive: number;
  /** Milliseconds from before the request, of those. */
  readonly liveMs: readonly number[];
  /** Changes that did not serve in time. */
  readonly late: readonly string[];
}

const LATE_MS = 30_000;

/** Changes of every kind that live delivery takes, one after the other in a fixed order. Every one of them leaves every path with a right answer. */
export class Changes {
  readonly #product: Product;
  readonly #certificates: Certificates;
  readonly #ports: readonly number[];
  readonly #made = new Map<string, number>();
  readonly #liveMs: number[] = [];
  readonly #late: string[] = [];
  #port = 0;
  #revision = 0;
  #isNarrow = false;
  #hasTwoCertificates = false;

  constructor(product: Product, certificates: Certificates, ports: readonly number[]) {
    this.#product = product;
    this.#certificates = certificates;
    this.#ports = ports;
  }

  /** The mappings that the lanes ask for. */
  async prepare(): Promise<void> {
    await this.#product.call('settings', {
      method: 'PATCH',
      body: JSON.stringify({ services: { named: [this.#nextService()] } }),
      headers: { 'if-match': '*' },
    });
    const names = ['moves-1', 'moves-2', 'moves-3', 'moves-4', 'rewritten', 'deep', 'named', 'still', 'secure'];
    for (const name of names) {
      const body = mapping(name, `/${name}/`, `/${name}-r0/`, name === 'named' ? 'named' : this.#nextService());
      await this.#product.call('mappings', { method: 'POST', body });
    }
  }

  /** Makes change number `n` and waits until it serves. */
  async make(n: number): Promise<void> {
    const began = performance.now();
    const { what, serves } = await this.#next(n);
    this.#made.set(what, (this.#made.get(what) ?? 0) + 1);
    if (serves === undefined) return;
    while (performance.now() - began < LATE_MS) {
      if (await serves()) {
        this.#liveMs.push(performance.now() - began);
        return;
      }
      await sleep(1);
    }
    this.#late.push(`${n}: ${what}`);
  }

  totals(): ChangeTotals {
    return { made: Object.fromEntries(this.#made), seenLive: this.#liveMs.length, liveMs: this.#liveMs, late: this.#late };
  }

  #next(n: number): Promise<Made> {
    this.#revision += 1;
    if (n % 25 === 24) return this.#changeListener(n);
    if (n % 25 === 12) return this.#moveEndpoints();
    if (n % 25 === 7) return this.#rotate();
    if (n % 25 === 19) return this.#changeCertificates();
    if (n % 5 === 3) return this.#moveDeepPath();
    if (n % 5 === 4) return this.#rewrite();
    return this.#moveToNewCluster(1 + (n % 4));
  }

  /** The route goes to an upstream that no route named before, and the upstream that it leaves is named by none any more. */
  async #moveToNewCluster(lane: number): Promise<Made> {
    const [name, rewrite] = [`moves-${lane}`, `/moves-${lane}-r${this.#revision}/`];
    await this.#put(name, mapping(name, `/${name}/`, rewrite, this.#nextService()));
    return { what: 'route to a new cluster, the old one deleted', serves: this.#echoes(`/${name}/x`, `${rewrite}x`) };
  }

  async #rewrite(): Promise<Made> {
    const rewrite = `/rewritten-r${this.#revision}/`;
    await this.#put('rewritten', mapping('rewritten', '/rewritten/', rewrite, `127.0.0.1:${this.#ports[0]}`));
    return { what: 'route changed in place', serves: this.#echoes('/rewritten/x', `${rewrite}x`) };
  }

  /** A path goes from its mapping to a narrower new one, or back when that is deleted. */
  async #moveDeepPath(): Promise<Made> {
    this.#isNarrow = !this.#isNarrow;
    const path = '/deep/part/x';
    if (this.#isNarrow) {
      const rewrite = `/narrow-r${this.#revision}/`;
      await this.#product.call('mappings', { method: 'POST', body: mapping('narrow', '/deep/part/', rewrite, this.#nextService()) });
      return { what: 'path moved to a new mapping', serves: this.#echoes(path, `${rewrite}x`) };
    }
    await this.#product.call('mappings/narrow', { method: 'DELETE' });
    return { what: 'path moved back, its mapping deleted', serves: this.#echoes(path, '/deep-r0/part/x') };
  }

  async #moveEndpoints(): Promise<Made> {
    await this.#patchSettings({ services: { named: [this.#nextService()] } });
    return { what: 'endpoints of a service moved' };
  }

  async #changeListener(n: number): Promise<Made> {
    await this.#patchSettings({ idleTimeoutMs: 3000 + (n % 100) });
    return { what: 'listener changed' };
  }

  async #rotate(): Promise<Made> {
    return { what: 'certificate rotated', serves: await this.#certificates.rotate() };
  }

  async #changeCertificates(): Promise<Made> {
    this.#hasTwoCertificates = !this.#hasTwoCertificates;
    if (this.#hasTwoCertificates) return { what: 'certificate added to the listener', serves: await this.#certificates.add() };
    return { what: 'certificate taken from the listener', serves: await this.#certificates.remove() };
  }

  /** The service says which path it was asked for. */
  #echoes(path: string, shows: string): () => Promise<boolean> {
    return async () => {
      const { status, head } = await probe(this.#product.host, this.#product.port, path);
      return status === 200 && head.includes(`x-echo: ${shows}\r\n`);
    };
  }

  async #put(name: string, body: string): Promise<void> {
    await this.#product.call(`mappings/${name}`, { method: 'PUT', body });
  }

  async #patchSettings(patch: object): Promise<void> {
    await this.#product.call('settings', { method: 'PATCH', body: JSON.stringify(patch), headers: { 'if-match': '*' } });
  }

  #nextService(): string {
    this.#port = (this.#port + 1) % this.#ports.length;
    return `127.0.0.1:${this.#ports[this.#port]}`;
  }
}

function mapping(name: string, prefix: string, rewrite: string, service: string): string {
  return JSON.stringify({ name, prefix, rewrite, service });
}
