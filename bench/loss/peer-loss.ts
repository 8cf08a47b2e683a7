import { setTimeout as sleep } from 'node:timers/promises';

import { lostCount } from '../../test/load/load-client.js';
import { caddy } from '../peers/caddy-peer.js';
import { type Peer, pathOf, type Site } from '../peers/contender.js';
import { nginx } from '../peers/nginx-peer.js';
import { Clients, type ClientTotals } from './clients.js';

const CHANGES = 100;
const EVERY_MS = 400;
const peers: readonly Peer[] = [nginx, caddy];

export interface PeerLoss extends ClientTotals {
  readonly name: string;
  readonly changes: number;
}

/** The same clients on other systems, whose routes change as often: what is lost elsewhere. */
export async function measurePeers(names: readonly string[], site: (name: string) => Site, rate: number): Promise<PeerLoss[]> {
  const all: PeerLoss[] = [];
  for (const peer of peers.filter(({ name }) => names.includes(name))) {
    const missing = peer.missing({ ownAddress: undefined });
    if (missing !== undefined) {
      console.log(`${peer.name}: skipped, ${missing}`);
      continue;
    }
    const measured = await measurePeer(peer, site(peer.name), rate);
    all.push(measured);
    const classes = Object.entries(measured.outcomes).filter(([outcome, count]) => outcome !== 'ok' && count > 0);
    console.log(
      `${peer.name}, ${CHANGES} changes of a route, the same clients: sent ${measured.sent}, lost ${lostCount(measured)} ${classes.map(([outcome, count]) => `${outcome} ${count}`).join(', ')}`,
    );
  }
  return all;
}

async function measurePeer(peer: Peer, site: Site, rate: number): Promise<PeerLoss> {
  const contender = await peer.start(site);
  try {
    const lanes = Array.from({ length: site.routes }, (_, route) => ({ path: pathOf(route), right: `^\\d+ ${pathOf(route)}$` }));
    const clients = new Clients({ host: contender.host, port: contender.port, rate, lanes }, 2);
    await sleep(EVERY_MS);
    for (let n = 1; n <= CHANGES; n++) {
      const began = performance.now();
      await contender.create(site.routes + n, 'r1');
      await sleep(Math.max(0, EVERY_MS - (performance.now() - began)));
    }
    return { name: peer.name, changes: CHANGES, ...(await clients.stop()) };
  } finally {
    await contender.stop();
  }
}
