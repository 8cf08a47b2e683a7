import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { residentMb, StartedProcess, untilSo } from '../machine/started-process.js';
import { Fleet } from './fleet.js';

/** What an idle client costs, KB, when there is no control plane: in Node's HTTP/2 server, and in the gRPC library on it. */
export async function measureFloors(folder: string, clients: number, restMs: number): Promise<Readonly<Record<string, number>>> {
  const floors: Record<string, number> = {};
  for (const kind of ['http2', 'grpc']) {
    const program = fileURLToPath(new URL('floor-server.ts', import.meta.url));
    const words = ['--max-semi-space-size=4', ...process.execArgv, program, kind];
    const server = new StartedProcess({ command: process.execPath, words, folder, name: `floor-${kind}`, talk: true });
    const lines = createInterface({ input: server.child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
    const { value } = await lines.next();
    const { port } = JSON.parse(value as string) as { port: number };
    const before = residentMb([server.pid]);
    const fleet = new Fleet({ folder, xds: `127.0.0.1:${port}`, clients, unhealthy: false });
    await untilSo('all are connected', async () => (await fleet.counts()).streams === clients);
    await sleep(restMs);
    floors[kind] = ((residentMb([server.pid]) - before) * 1024) / clients;
    await fleet.stop();
    await server.stop();
  }
  return floors;
}
