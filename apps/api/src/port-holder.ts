import { readdir, readFile, readlink } from 'node:fs/promises';

/** Who listens on a TCP port of this machine, in words: pid and command where /proc tells, else that it does not. */
export async function describePortHolder(port: number): Promise<string> {
  const inodes = await listeningInodes(port);
  for (const pid of inodes.size === 0 ? [] : await processes()) {
    if (await holds(pid, inodes)) return `process ${pid} (${await command(pid)})`;
  }
  return 'another process (which one, this user cannot see)';
}

/** The sockets that listen on the port: /proc/net/tcp has the port in hexadecimal, and state 0A for LISTEN. */
async function listeningInodes(port: number): Promise<Set<string>> {
  const tables = await Promise.all(['/proc/net/tcp', '/proc/net/tcp6'].map((file) => readFile(file, 'utf8').catch(() => '')));
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const rows = tables.flatMap((table) => table.split('\n').slice(1)).map((line) => line.trim().split(/\s+/));
  return new Set(rows.filter((row) => row[1]?.endsWith(`:${hex}`) && row[3] === '0A').map((row) => `socket:[${row[9]}]`));
}

async function processes(): Promise<string[]> {
  const entries = await readdir('/proc').catch(() => []);
  return entries.filter((entry) => /^\d+$/.test(entry));
}

async function holds(pid: string, inodes: ReadonlySet<string>): Promise<boolean> {
  const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []); // Not ours to look into, or gone already.
  const links = await Promise.all(descriptors.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')));
  return links.some((link) => inodes.has(link));
}

async function command(pid: string): Promise<string> {
  const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return line.replaceAll('\0', ' ').trim().slice(0, 200) || 'command unknown';
}
