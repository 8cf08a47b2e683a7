import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** A wire to the database that can be cut (connections die, new ones are refused) or go mute (bytes no longer pass, nobody is told). */
export class Wire {
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #mute = false;
  #cutAt: { readonly bytes: string; readonly from: 'near' | 'far'; done(): void } | undefined;
  #port = 0;

  constructor(private readonly to: { readonly host: string; readonly port: number }) {}

  async open(): Promise<number> {
    this.#server = createServer((near) => {
      const far = connect(this.to.port, this.to.host);
      for (const [side, from, into] of [
        ['near', near, far],
        ['far', far, near],
      ] as const) {
        this.#sockets.add(from);
        from.on('data', (chunk) => this.#pass(side, chunk, into));
        from.on('error', () => into.destroy());
        from.on('close', () => into.destroy());
      }
    });
    await new Promise<void>((resolve) => this.#server?.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (this.#server.address() as AddressInfo).port;
    return this.#port;
  }

  async cut(): Promise<void> {
    const closed = new Promise((resolve) => this.#server?.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
    await closed;
  }

  mute(on: boolean): void {
    this.#mute = on;
  }

  /**
   * Cuts it at the next append: when it is sent, so that it never arrives, or when its answer comes back (a server sends that when it has
   * committed, all in one). Resolves when that has happened; nothing passes until `open`.
   */
  cutAt(what: 'request' | 'answer'): Promise<void> {
    return new Promise((done) => {
      this.#cutAt = what === 'request' ? { from: 'near', bytes: 'chancery.append', done } : { from: 'far', bytes: 'base_version', done };
    });
  }

  #pass(side: 'near' | 'far', chunk: Buffer, into: Socket): void {
    const cut = this.#cutAt;
    if (cut?.from === side && chunk.includes(cut.bytes)) {
      this.#cutAt = undefined;
      void this.cut().then(cut.done);
    } else if (!this.#mute) into.write(chunk);
  }
}

/** A wire to the database of this URL, and the URL through it. */
export async function openWire(url: string): Promise<{ wire: Wire; url: string }> {
  const through = new URL(url);
  const wire = new Wire({ host: through.hostname, port: Number(through.port) });
  through.port = String(await wire.open());
  through.hostname = '127.0.0.1';
  return { wire, url: through.href };
}
