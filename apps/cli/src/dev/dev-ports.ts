import { userInfo } from 'node:os';

import { describePortOwner, findFreePort, findPortOwner, probePort } from '#platform/network/listening-port.js';

import { DevError } from './dev-error.js';

/** Ports that the command line names; 0 asks for any free one, which is then kept. */
export interface AskedPorts {
  readonly api: number;
  readonly http: number;
  readonly https: number;
}

export type Ports = Readonly<
  Record<'api' | 'http' | 'https' | 'worker' | 'workerMetrics' | 'projectorMetrics' | 'usersvc' | 'gruesvc', number>
>;

const inner = ['worker', 'workerMetrics', 'projectorMetrics', 'usersvc', 'gruesvc'] as const;
const labels = { api: 'the API', http: "the gateway's HTTP", https: "the gateway's HTTPS" };

/**
 * Decides every port before anything is started. An asked one must be free, or held by a process of ours that is taken over; the inner ones keep
 * the number they had (agents and paste-ready lines stay right) unless somebody has taken it meanwhile.
 * @throws DevError `port_taken` saying by whom.
 */
export async function choosePorts(
  asked: AskedPorts,
  remembered: Readonly<Record<string, number>>,
  ours: ReadonlySet<number>,
): Promise<Ports> {
  const chosen: Partial<Record<keyof Ports, number>> = {};
  const used = new Set<number>();
  const take = (name: keyof Ports, port: number) => {
    chosen[name] = port;
    used.add(port);
  };
  for (const name of ['api', 'http', 'https'] as const) {
    const port = asked[name];
    if (port === 0) continue;
    if (used.has(port))
      throw new DevError('port_twice', `Port ${port} is given twice.`, 'Give --api-port, --http-port and --https-port different numbers.');
    await insist(name, port, ours);
    take(name, port);
  }
  for (const name of ['api', 'http', 'https', ...inner] as const) {
    if (chosen[name] !== undefined) continue;
    const before = remembered[name];
    const keep = before !== undefined && !used.has(before) && (await isOursOrFree(before, ours));
    take(name, keep ? before : await findFreePort(used));
  }
  return chosen as Ports;
}

async function isOursOrFree(port: number, ours: ReadonlySet<number>): Promise<boolean> {
  return (await probePort(port)) === 'free' || ours.has(findPortOwner(port).pid ?? -1);
}

async function insist(name: keyof AskedPorts, port: number, ours: ReadonlySet<number>): Promise<void> {
  const state = await probePort(port);
  if (state === 'free') return;
  const way = `bin/dev --${name}-port N (0 takes a free one)`;
  if (state === 'forbidden') {
    throw new DevError(
      'port_forbidden',
      `Port ${port}, asked for ${labels[name]}, is one that only root may open; this is ${userInfo().username}.`,
      `Take a port from 1024 up: ${way}`,
    );
  }
  const owner = findPortOwner(port);
  if (owner.pid !== undefined && ours.has(owner.pid)) return;
  const stop = owner.pid === undefined ? '' : `stop it (kill ${owner.pid}), or `;
  throw new DevError(
    'port_taken',
    `Port ${port}, asked for ${labels[name]}, is taken by ${describePortOwner(owner)}.`,
    `${stop === '' ? 'Take' : `${stop}take`} another port: ${way}`,
  );
}
