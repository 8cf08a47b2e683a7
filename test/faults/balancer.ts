import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/**
 * What a Service does in front of pods: a new connection goes to the next of those that are ready and stays there to its end, whatever becomes of the
 * list meanwhile. It never opens a connection again elsewhere.
 */
export class Balancer {
  readonly #server: Server;
  readonly #ready = new Map<string, number>();
  readonly #sockets = new Set<Socket>();
  #next = 0;

  private constructor() {
    this.#server = createServer({ allowHalfOpen: true }, (near) => this.#open(near));
  }

  static async start(): Promise<Balancer> {
    const balancer = new Balancer();
    await new Promise<void>((resolve) => balancer.#server.listen(0, '127.0.0.1', resolve));
    return balancer;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  admit(name: string, port: number): void {
    this.#ready.set(name, port);
  }

  remove(name: string): void {
    this.#ready.delete(name);
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #open(near: Socket): void {
    const ports = [...this.#ready.values()];
    const port = ports[this.#next++ % Math.max(1, ports.length)];
    if (port === undefined) {
      near.resetAndDestroy();
      return;
    }
    const far = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true });
    near.setNoDelay();
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(from);
      from.on('close', () => this.#sockets.delete(from));
      from.on('error', () => to.resetAndDestroy()); // a reset stays a reset
      from.pipe(to);
    }
  }
}
