import { createConnection, createServer, type Server } from 'node:net';

import { sha256Hex } from '#platform/kernel/digest.js';

import { DevError } from './dev-error.js';

/** The right to work on a data folder, held by one supervisor at a time. */
export interface DataLock {
  release(): void;
}

const ASK_DEADLINE_MS = 1_000;

/**
 * Takes the folder, or says who has it. The lock is a socket in Linux' abstract namespace, named after the folder: the kernel hands it out once,
 * and takes it back the moment its holder dies, however it dies. A lock file would have to be judged for staleness, and two starts could judge alike.
 * @throws DevError `data_in_use`.
 */
export async function lockData(realDir: string): Promise<DataLock> {
  const name = `\0chancery-dev-${sha256Hex(realDir).slice(0, 32)}`;
  const server = createServer((socket) => {
    socket.on('error', () => undefined); // the asker went away; nothing is owed to it
    socket.end(String(process.pid));
  });
  if (await listens(server, name)) {
    server.unref();
    return { release: () => void server.close() };
  }
  const holder = await askHolder(name);
  throw new DevError(
    'data_in_use',
    `${realDir} is in use by ${holder === undefined ? 'another bin/dev, which does not answer' : `bin/dev with pid ${holder}`}.`,
    `Use that one (its token is in ${realDir}/token), or stop it${holder === undefined ? '' : ` (kill ${holder})`}, or take another folder and other ports: bin/dev --data DIR --api-port N --http-port N --https-port N`,
  );
}

function listens(server: Server, name: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => (error.code === 'EADDRINUSE' ? resolve(false) : reject(error)));
    server.listen(name, () => resolve(true));
  });
}

function askHolder(name: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    const socket = createConnection(name);
    let said = '';
    socket.setTimeout(ASK_DEADLINE_MS, () => socket.destroy());
    socket.on('data', (chunk) => {
      said += chunk.toString();
    });
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => resolve(/^\d+$/.test(said) ? Number(said) : undefined));
  });
}
