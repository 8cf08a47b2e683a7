import type { AddressInfo } from 'node:net';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** What a proxy does with bytes. `outward` is from whoever dialled. */
export type ProxyMode =
  | 'pass'
  /** Every connection is cut, and new ones are refused by being cut. */
  | 'cut'
  /** Nothing arrives on either side, and nobody hears of it: a partition, connections half open. */
  | 'silent'
  /** Only what whoever dialled sends is lost. */
  | 'deaf'
  /** Only what is answered is lost. */
  | 'mute'
  /** A byte a second, each way. */
  | 'trickle';

/** A TCP proxy between two processes, whose far end and whose faults a test sets. */
export class TcpProxy {
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  #port = 0;
  #target: () => number;
  #mode: ProxyMode = 'pass';
  /** How many connections were taken so far. */
  accepted = 0;

  private constructor(target: () => number) {
    this.#target = target;
    this.#server = createServer({ allowHalfOpen: true }, (near) => this.#open(near));
  }

  /** @param target the port on loopback, asked at each connection */
  static async start(target: () => number): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    proxy.#port = (proxy.#server.address() as AddressInfo).port;
    return proxy;
  }

  get port(): number {
    return this.#port;
  }

  get connections(): number {
    return this.#pairs.size;
  }

  /** Where new connections go from now on. */
  aim(target: () => number): void {
    this.#target = target;
  }

  /** From now on, for the connections that there are and for new ones. */
  set(mode: ProxyMode): void {
    this.#mode = mode;
    for (const pair of [...this.#pairs]) {
      if (mode === 'cut') pair.end();
      else pair.apply(mode);
    }
  }

  /** The connections that there are stay open and carry nothing any more, as when a router forgets them; new ones pass. */
  forget(): void {
    for (const pair of [...this.#pairs]) pair.apply('silent');
    this.#mode = 'pass';
  }

  async close(): Promise<void> {
    for (const pair of [...this.#pairs]) pair.end();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #open(near: Socket): void {
    this.accepted += 1;
    if (this.#mode === 'cut') {
      near.destroy();
      return;
    }
    const pair = new Pair(near, connect({ port: this.#target(), host: '127.0.0.1', allowHalfOpen: true }), () => this.#pairs.delete(pair));
    this.#pairs.add(pair);
    pair.apply(this.#mode);
  }
}

const TRICKLE_MS = 1_000;

class Pair {
  readonly #near: Socket;
  readonly #far: Socket;
  readonly #ended: () => void;
  readonly #ways: readonly Way[];

  constructor(near: Socket, far: Socket, ended: () => void) {
    this.#near = near;
    this.#far = far;
    this.#ended = ended;
    this.#ways = [new Way(near, far), new Way(far, near)];
    for (const socket of [near, far]) {
      socket.setNoDelay(true);
      socket.on('error', () => this.end());
      socket.on('close', () => this.end());
    }
  }

  apply(mode: ProxyMode): void {
    const [outward, inward] = this.#ways;
    outward?.apply(mode === 'silent' || mode === 'deaf' ? 'hold' : mode === 'trickle' ? 'trickle' : 'pass');
    inward?.apply(mode === 'silent' || mode === 'mute' ? 'hold' : mode === 'trickle' ? 'trickle' : 'pass');
  }

  end(): void {
    for (const way of this.#ways) way.end();
    this.#near.destroy();
    this.#far.destroy();
    this.#ended();
  }
}

/** One direction of a connection. What is held is kept, as a network keeps it that repeats what was not acknowledged. */
class Way {
  readonly #from: Socket;
  readonly #to: Socket;
  #kept: Buffer = Buffer.alloc(0);
  #how: 'pass' | 'hold' | 'trickle' = 'pass';
  #isOver = false;
  readonly #timer: NodeJS.Timeout;

  constructor(from: Socket, to: Socket) {
    this.#from = from;
    this.#to = to;
    this.#timer = setInterval(() => this.#drip(), TRICKLE_MS);
    from.on('data', (bytes: Buffer) => {
      if (this.#how === 'pass') this.#send(bytes);
      else this.#kept = Buffer.concat([this.#kept, bytes]);
    });
    from.on('end', () => {
      this.#isOver = true;
      if (this.#how === 'pass') to.end();
    });
    to.on('drain', () => from.resume());
  }

  apply(how: 'pass' | 'hold' | 'trickle'): void {
    this.#how = how;
    if (how !== 'pass') return;
    if (this.#kept.length > 0) this.#send(this.#kept);
    this.#kept = Buffer.alloc(0);
    if (this.#isOver) this.#to.end();
  }

  end(): void {
    clearInterval(this.#timer);
  }

  #send(bytes: Buffer): void {
    if (!this.#to.destroyed && !this.#to.write(bytes)) this.#from.pause();
  }

  #drip(): void {
    if (this.#how !== 'trickle' || this.#kept.length === 0) return;
    this.#send(this.#kept.subarray(0, 1));
    this.#kept = this.#kept.subarray(1);
  }
}
