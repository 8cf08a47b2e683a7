import { createHash } from 'node:crypto';
import { connect, createServer, type Server } from 'node:net';

/** Another agent owns the node's folder. */
export class NodeLockedError extends Error {
  override readonly name = 'NodeLockedError';
}

export interface NodeLock {
  release(): void;
}

/**
 * One agent per node folder: two would restart each other's Envoy. The lock is a socket in Linux's abstract namespace named for the
 * folder, which the kernel gives back the moment its owner dies, however it dies. Whoever connects gets `describe()` as one JSON line.
 * @throws NodeLockedError naming the owner.
 */
export async function lockNode(folder: string, describe: () => unknown): Promise<NodeLock> {
  const name = `\0chancery-agent-${createHash('sha256').update(folder).digest('hex').slice(0, 32)}`;
  const server: Server = createServer((socket) => {
    socket.on('error', () => socket.destroy()); // whoever asked has gone
    socket.end(`${JSON.stringify(describe())}\n`);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE') reject(error);
      else
        void askOwner(name).then((owner) =>
          reject(new NodeLockedError(`Another agent works on ${folder}: ${owner}. Stop it first, or give this one a folder of its own.`)),
        );
    });
    server.listen(name, resolve);
  });
  return { release: () => void server.close() };
}

function askOwner(name: string): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(name);
    const deadline = setTimeout(() => socket.destroy(), 1000);
    socket.on('data', (chunk) => {
      text += chunk.toString();
    });
    socket.on('error', () => {}); // 'close' follows, with what was read
    socket.on('close', () => {
      clearTimeout(deadline);
      resolve(text.trim() || 'it does not answer');
    });
  });
}
