import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createServer } from 'node:net';

/** Who listens on a port, as far as this user may see it. */
export interface PortOwner {
  readonly pid: number | undefined;
  readonly command: string | undefined;
  /** The numeric user id that owns the socket. */
  readonly uid: number | undefined;
}

const LISTENING = '0A'; // TCP_LISTEN, include/net/tcp_states.h

/** Whether 127.0.0.1:port can be bound: `free`, `taken`, or `forbidden` (a port below 1024 and no right to it). */
export function probePort(port: number): Promise<'free' | 'taken' | 'forbidden'> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve('taken');
      else if (error.code === 'EACCES') resolve('forbidden');
      else reject(error);
    });
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve('free')));
  });
}

/** A port of 127.0.0.1 that is free now, and not among `except`. */
export async function findFreePort(except: ReadonlySet<number>): Promise<number> {
  for (;;) {
    const port = await new Promise<number>((resolve, reject) => {
      const server = createServer();
      server.once('error', reject);
      server.listen(0, '127.0.0.1', () => {
        const address = server.address();
        server.close(() =>
          address !== null && typeof address === 'object' ? resolve(address.port) : reject(new Error('the system gave no port')),
        );
      });
    });
    if (!except.has(port)) return port;
  }
}

/** Who listens on the port: read from /proc, where another user's processes show only their user. */
export function findPortOwner(port: number): PortOwner {
  const sockets = [...listeners('/proc/net/tcp', port), ...listeners('/proc/net/tcp6', port)];
  const wanted = new Set(sockets.map(({ inode }) => `socket:[${inode}]`));
  for (const entry of wanted.size === 0 ? [] : readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || !holdsSocket(entry, wanted)) continue;
    return { pid: Number(entry), command: commandOf(entry), uid: sockets[0]?.uid };
  }
  return { pid: undefined, command: undefined, uid: sockets[0]?.uid };
}

/** The owner in words, for "is taken by ...". */
export function describePortOwner({ pid, command, uid }: PortOwner): string {
  if (pid !== undefined) return `process ${pid} (${command ?? 'unknown command'})`;
  return uid === undefined ? 'a process that this user cannot see' : `another user's process (user id ${uid})`;
}

function listeners(table: string, port: number): { inode: string; uid: number }[] {
  let text: string;
  try {
    text = readFileSync(table, 'latin1');
  } catch {
    return []; // no IPv6, or no /proc: the port is known to be taken, only not by whom
  }
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return text
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[1]?.endsWith(suffix) && fields[3] === LISTENING)
    .map((fields) => ({ inode: fields[9] ?? '', uid: Number(fields[7]) }));
}

function holdsSocket(pid: string, wanted: ReadonlySet<string>): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      try {
        return wanted.has(readlinkSync(`/proc/${pid}/fd/${fd}`));
      } catch {
        return false; // closed while we looked
      }
    });
  } catch {
    return false; // ended meanwhile, or another user's
  }
}

function commandOf(pid: string): string | undefined {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').join(' ').trim();
    if (words === '') return undefined; // a zombie
    return words.length > 160 ? `${words.slice(0, 157)}...` : words;
  } catch {
    return undefined; // ended meanwhile
  }
}
