import { setTimeout as sleep } from 'node:timers/promises';

import { askCertificate } from '#platform/envoy/certificate-probe.js';

import { createAuthority, type TestAuthority } from '../../libs/platform/envoy/certificates.fixture.js';
import type { Product } from '../peers/product.js';

const NAME = 'edge.bench.test';
const OTHER_NAME = 'other.bench.test';

/** The certificates of the gateway: one that is always there, which clients verify, and another that comes and goes. All are of one authority. */
export class Certificates {
  readonly #product: Product;
  readonly #authority: TestAuthority;
  readonly #port: number;

  private constructor(product: Product, authority: TestAuthority) {
    this.#product = product;
    this.#authority = authority;
    this.#port = Number(new URL(product.dev.ready.tls).port);
  }

  /** With the first certificate in force. */
  static async start(product: Product): Promise<Certificates> {
    const certificates = new Certificates(product, await createAuthority('Bench authority'));
    const shows = await certificates.rotate();
    while (!(await shows())) await sleep(20);
    return certificates;
  }

  /** What a client asks for, and believes. */
  get words(): { readonly port: number; readonly serverName: string; readonly authority: string } {
    return { port: this.#port, serverName: NAME, authority: this.#authority.chain };
  }

  /** @returns whether a handshake shows the new one by now. */
  async rotate(): Promise<() => Promise<boolean>> {
    return this.#put('edge', NAME);
  }

  /** A second one is served as well: the listener names it. */
  async add(): Promise<() => Promise<boolean>> {
    return this.#put('other', OTHER_NAME);
  }

  /** @returns whether who asks for its name is shown the first again. */
  async remove(): Promise<() => Promise<boolean>> {
    await this.#product.call('certificates/other', { method: 'DELETE' });
    return async () => (await this.#shown(OTHER_NAME)) === (await this.#shown(NAME));
  }

  async #put(certificate: string, name: string): Promise<() => Promise<boolean>> {
    const { chain, key, fingerprint } = await this.#authority.issue([name]);
    const body = JSON.stringify({ certificateChain: chain, privateKey: key });
    await this.#product.call(`certificates/${certificate}`, { method: 'PUT', body });
    return async () => (await this.#shown(name)) === fingerprint;
  }

  async #shown(serverName: string): Promise<string | null> {
    return (await askCertificate({ address: '127.0.0.1', port: this.#port, serverName, secret: '' })).fingerprint;
  }
}
