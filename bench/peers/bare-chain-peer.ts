import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { findFreePort } from '#platform/network/listening-port.js';
import { startPostgres } from '#platform/postgres/embedded-postgres.js';

import { StartedProcess, untilSo } from '../machine/started-process.js';
import { missingPeerBinary, type Peer, type Site } from './contender.js';
import { startStub } from './stub-peer.js';

/** What the stub needs when what is before it is divided into processes, and durable, as Chancery is: the floor of that architecture on this machine. */
export const bareChain: Peer = {
  name: 'bare-chain',
  note: 'the stub behind an api, a worker and an agent with nothing in them, and one commit with fsync: what the hops alone cost',
  mostRoutes: Number.POSITIVE_INFINITY,
  missing: () => missingPeerBinary('limitpeer'),
  start: startBareChain,
};

async function startBareChain(site: Site) {
  const postgres = await startPostgres({ dataDir: join(site.folder, 'pg') });
  const parts: StartedProcess[] = [];
  const begin = async (role: string, ...words: string[]) => {
    const program = fileURLToPath(new URL('bare-chain.ts', import.meta.url));
    const part = new StartedProcess({
      command: process.execPath,
      words: [...process.execArgv, program, role, ...words],
      ...{ folder: site.folder, name: role },
    });
    parts.push(part);
    await untilSo(`the ${role} is ready`, () => part.said().includes('ready'), { of: part });
  };
  const front = async (trigger: string) => {
    const agent = await findFreePort(new Set());
    const api = await findFreePort(new Set([agent]));
    await begin('agent', String(agent), trigger);
    await begin('api', postgres.ownerUrl, String(api));
    await begin('worker', postgres.ownerUrl, String(agent));
    return `http://127.0.0.1:${api}`;
  };
  const contender = await startStub(site, front);
  return {
    ...contender,
    control: [...contender.control, ...parts.map(({ pid }) => pid)],
    async stop() {
      for (const part of parts.toReversed()) await part.stop();
      await contender.stop();
      await postgres.stop();
    },
  };
}
