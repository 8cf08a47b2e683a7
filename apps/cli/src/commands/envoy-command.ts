import { isIP } from 'node:net';
import { type Command, InvalidArgumentError, Option } from 'commander';

import { toStockBootstrap } from '#features/gateway/stock-bootstrap.envoy.js';
import { isLoopback } from '#platform/config/environment.js';

import { readToken } from '../connection.js';
import { addGroup } from '../session.js';
import { UsageError } from '../usage-error.js';

interface Worker {
  readonly host: string;
  readonly port: number;
}

interface Flags {
  readonly gateway?: string;
  readonly node: string;
  readonly worker: Worker;
  readonly protocol: 'delta' | 'sotw';
  readonly tokenFile?: string;
  readonly tlsCa?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly adminPort?: number;
}

/** `envoy bootstrap`: what an Envoy without an agent is started with. It asks nobody. */
export function addEnvoyCommand(program: Command): void {
  const envoy = addGroup(program, {
    name: 'envoy',
    description: 'Envoys that dial a worker themselves, without an agent',
    examples: ['chancery envoy bootstrap --node edge-7 --worker 127.0.0.1:18000 --token-file edge-7.token > envoy.json'],
  });
  envoy
    .command('bootstrap')
    .description('print what an Envoy without an agent is started with: it gets everything else from the worker, live')
    .requiredOption('--node <name>', 'its name as a target', nodeName)
    .requiredOption('--worker <host:port>', 'where the worker is', workerAddress)
    .option('--gateway <name>', 'which gateway')
    .addOption(new Option('--protocol <name>', 'how it asks for its resources').choices(['delta', 'sotw']).default('delta'))
    .option('--token-file <file>', 'a token with the scope agent:<node>, which is printed within; for a worker on this machine')
    .option('--tls-ca <file>', "on the node: the authorities of the worker's certificate")
    .option('--tls-cert <file>', 'on the node: its own certificate, which names the node')
    .option('--tls-key <file>', 'on the node: the key of that certificate')
    .option('--admin-port <port>', "a loopback port for Envoy's admin interface (default: none)", port)
    .addHelpText(
      'after',
      '\nExamples:\n  chancery envoy bootstrap --node edge-7 --worker 127.0.0.1:18000 --token-file edge-7.token > envoy.json' +
        '\n  chancery envoy bootstrap --node edge-7 --worker worker.example.org:18000 --tls-ca ca.pem --tls-cert edge-7.pem --tls-key edge-7.key > envoy.json',
    )
    .action((flags: Flags, command: Command) => {
      const gateway = flags.gateway ?? (command.optsWithGlobals() as { gateway?: string }).gateway ?? 'default';
      process.stdout.write(bootstrapText({ ...flags, gateway }));
    });
}

function bootstrapText(flags: Flags & { readonly gateway: string }): string {
  const { gateway, node, protocol, worker, tokenFile, adminPort } = flags;
  const tls = tlsOf(flags);
  if (tls === undefined && !isLoopback(worker.host))
    throw new UsageError(`Without TLS a worker is only reached on this machine; ${worker.host} needs --tls-ca, --tls-cert and --tls-key.`);
  if (tls === undefined && tokenFile === undefined) throw new UsageError('Give --token-file, or the three --tls-… files.');
  const token = tokenFile === undefined ? undefined : readToken(tokenFile, '--token-file');
  const bootstrap = toStockBootstrap({
    gateway,
    node,
    protocol,
    token,
    tls,
    adminPort,
    worker: { ...worker, isAddress: isIP(worker.host) !== 0 },
  });
  return `${JSON.stringify(bootstrap, null, 2)}\n`;
}

function tlsOf({ tlsCa, tlsCert, tlsKey }: Flags): { ca: string; certificate: string; key: string } | undefined {
  if (tlsCa === undefined && tlsCert === undefined && tlsKey === undefined) return undefined;
  if (tlsCa === undefined || tlsCert === undefined || tlsKey === undefined)
    throw new UsageError('--tls-ca, --tls-cert and --tls-key belong together.');
  return { ca: tlsCa, certificate: tlsCert, key: tlsKey };
}

function nodeName(text: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(text)) return text;
  throw new InvalidArgumentError('It must be 1 to 64 letters, digits, dots, hyphens and underscores.');
}

function workerAddress(text: string): Worker {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^\s:[\]/]+)):(\d{1,5})$/.exec(text);
  if (match === null) throw new InvalidArgumentError('It must be host:port, such as 127.0.0.1:18000 or [::1]:18000.');
  return { host: match[1] ?? match[2] ?? '', port: port(match[3] ?? '') };
}

function port(text: string): number {
  const number = Number(text);
  if (Number.isInteger(number) && number >= 1 && number <= 65_535) return number;
  throw new InvalidArgumentError('A port is from 1 to 65535.');
}
