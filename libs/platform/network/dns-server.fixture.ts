import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer as createTcpServer, isIPv6, type Server } from 'node:net';

/** What the server says of a name. `none`: it exists and has no address. `unknown`: it does not exist. `failing`: the server cannot tell. */
export type DnsRecord = { readonly addresses: readonly string[]; readonly ttlS: number } | 'none' | 'unknown' | 'failing' | 'mute';

const [A, AAAA] = [1, 28];
const RESPONSE_CODES = { none: 0, failing: 2, unknown: 3 } as const;
/** A UDP answer without EDNS is never longer; a longer one is cut, and asked for again over TCP. */
const MOST_UDP_BYTES = 512;

/** A DNS server that answers A and AAAA as a test says, over UDP and TCP. Names that it was told nothing of do not exist. */
export class DnsServer {
  readonly #records = new Map<string, DnsRecord>();
  readonly #udp: UdpSocket = createSocket('udp4');
  readonly #tcp: Server;
  /** The names that were asked for, each with its type and by what. */
  readonly questions: string[] = [];

  private constructor() {
    this.#udp.on('message', (query, from) => {
      const answer = this.#answer(query, 'udp');
      if (answer !== undefined) this.#udp.send(answer, from.port, from.address);
    });
    this.#tcp = createTcpServer((socket) => {
      let held = Buffer.alloc(0);
      socket.on('error', () => undefined);
      socket.on('data', (chunk) => {
        held = Buffer.concat([held, chunk]);
        while (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) {
          const end = 2 + held.readUInt16BE(0);
          const answer = this.#answer(held.subarray(2, end), 'tcp');
          held = held.subarray(end);
          if (answer !== undefined) socket.write(Buffer.concat([word(answer.length), answer]));
        }
      });
    });
  }

  static async start(address: string, port: number): Promise<DnsServer> {
    const server = new DnsServer();
    await new Promise<void>((resolve, reject) => {
      server.#udp.once('error', reject);
      server.#udp.bind(port, address, resolve);
    });
    await new Promise<void>((resolve, reject) => {
      server.#tcp.once('error', reject);
      server.#tcp.listen(port, address, resolve);
    });
    return server;
  }

  set(name: string, record: DnsRecord): void {
    this.#records.set(name, record);
  }

  stop(): void {
    this.#udp.close();
    this.#tcp.close();
  }

  #answer(query: Buffer, over: 'udp' | 'tcp'): Buffer | undefined {
    const { name, type, end } = questionOf(query);
    this.questions.push(`${name} ${type === A ? 'A' : type === AAAA ? 'AAAA' : type} ${over}`);
    const record = this.#records.get(name) ?? 'unknown';
    if (record === 'mute') return undefined;
    const question = query.subarray(12, end);
    if (typeof record === 'string') return message(query, { code: RESPONSE_CODES[record], question, answers: [] });
    const wanted = record.addresses.filter((address) => (isIPv6(address) ? AAAA : A) === type);
    const whole = message(query, { code: 0, question, answers: wanted.map((address) => resourceOf(address, record.ttlS)) });
    if (over === 'tcp' || whole.length <= MOST_UDP_BYTES) return whole;
    return message(query, { code: 0, question, answers: [], isCut: true });
  }
}

/** RFC 1035, 4.1.2: labels, type, class. */
function questionOf(query: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length).toLowerCase());
    at += 1 + length;
  }
  return { name: labels.join('.'), type: query.readUInt16BE(at + 1), end: at + 5 };
}

interface Message {
  readonly code: number;
  readonly question: Buffer;
  readonly answers: readonly Buffer[];
  readonly isCut?: boolean;
}

function message(query: Buffer, { code, question, answers, isCut = false }: Message): Buffer {
  const flags = 0x8180 | (isCut ? 0x0200 : 0) | code; // an answer, recursion wanted and there
  const head = Buffer.concat([query.subarray(0, 2), word(flags), word(1), word(answers.length), word(0), word(0)]);
  return Buffer.concat([head, question, ...answers]);
}

/** The name is a pointer to the question's. */
function resourceOf(address: string, ttlS: number): Buffer {
  const data = isIPv6(address) ? ipv6Bytes(address) : Buffer.from(address.split('.').map(Number));
  const ttl = Buffer.alloc(4);
  ttl.writeUInt32BE(ttlS);
  return Buffer.concat([word(0xc00c), word(isIPv6(address) ? AAAA : A), word(1), ttl, word(data.length), data]);
}

function ipv6Bytes(address: string): Buffer {
  const [head = '', tail = ''] = address.split('::').map((half) =>
    half
      .split(':')
      .filter((part) => part !== '')
      .join(':'),
  );
  const words = (text: string) => (text === '' ? [] : text.split(':').map((part) => word(Number.parseInt(part, 16))));
  const [first, last] = [words(head), words(tail)];
  return Buffer.concat([...first, Buffer.alloc(16 - 2 * (first.length + last.length)), ...last]);
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}
