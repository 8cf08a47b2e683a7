import { isIP } from 'node:net';

/** Why an address cannot be an upstream, and the way out. */
export interface AddressFault {
  readonly code: string;
  readonly message: string;
}

/** What an operator allows mappings to reach. */
export interface UpstreamPolicy {
  readonly allowLoopback: boolean;
  /** Ports of the product itself on this machine (API, worker, database, queue): never an upstream. */
  readonly ownPorts: ReadonlySet<number>;
}

/**
 * Never an upstream, whatever the settings: what an address means there is not a service of the user's. The first hit
 * names the reason. node:net's BlockList is not used: it reads `::ffff:0:0/96` as every IPv4 address.
 */
const forbidden: readonly { readonly networks: readonly string[]; readonly code: string; readonly what: string }[] = [
  {
    // AWS, GCP, Azure and OpenStack answer with credentials on 169.254.169.254; AWS also on fd00:ec2::254, Alibaba on 100.100.100.200, Azure's wire server on 168.63.129.16, Oracle on 192.0.0.192.
    networks: ['169.254.169.254/32', 'fd00:ec2::254/128', '100.100.100.200/32', '168.63.129.16/32', '192.0.0.192/32'],
    code: 'service_metadata_address',
    what: "is a cloud's metadata service",
  },
  { networks: ['0.0.0.0/8', '::/128'], code: 'service_unspecified_address', what: 'is the unspecified address' },
  { networks: ['169.254.0.0/16', 'fe80::/10'], code: 'service_link_local_address', what: 'is link-local' },
  { networks: ['224.0.0.0/4', 'ff00::/8'], code: 'service_multicast_address', what: 'is a multicast address' },
  { networks: ['240.0.0.0/4'], code: 'service_reserved_address', what: 'is a reserved or broadcast address' },
  {
    // Mapped, compatible, NAT64, 6to4, Teredo, ISATAP-like: the plain IPv4 form says the same and is checked.
    networks: ['::ffff:0:0/96', '::ffff:0:0:0/96', '::/96', '64:ff9b::/96', '64:ff9b:1::/48', '2002::/16', '2001::/32'],
    code: 'service_embedded_ipv4',
    what: 'hides an IPv4 address in an IPv6 one; write the IPv4 address',
  },
];

const loopback = ['127.0.0.0/8', '::1/128'];

/** The bytes of an IP literal: 4 or 16; undefined for anything else. */
function addressBytes(text: string): readonly number[] | undefined {
  if (isIP(text) === 4) return text.split('.').map(Number);
  if (isIP(text) !== 6 || text.includes('%')) return undefined;
  // WHATWG URL writes an IPv6 address in its one canonical form, without a dotted quad.
  const [head = '', tail] = new URL(`http://[${text}]`).hostname.slice(1, -1).split('::');
  const words = (part: string) => (part === '' ? [] : part.split(':').map((word) => Number.parseInt(word, 16)));
  const [front, back] = [words(head), words(tail ?? '')];
  const all = [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back];
  return all.flatMap((word) => [word >> 8, word & 0xff]);
}

function covers(networks: readonly string[], address: readonly number[]): boolean {
  return networks.some((network) => {
    const { bytes, length } = networkOf(network);
    if (bytes.length !== address.length) return false;
    return bytes.every((byte, i) => {
      const bits = Math.max(0, Math.min(8, length - i * 8));
      return ((byte ^ (address[i] ?? 0)) & ((0xff << (8 - bits)) & 0xff)) === 0;
    });
  });
}

interface Network {
  readonly bytes: readonly number[];
  readonly length: number;
}

/** The networks above, each parsed once: with 100,000 mappings to look at, parsing them again each time took five seconds. */
const networks = new Map<string, Network>();

function networkOf(text: string): Network {
  const known = networks.get(text);
  if (known !== undefined) return known;
  const [base = '', length = ''] = text.split('/');
  const network = { bytes: addressBytes(base) ?? [], length: Number(length) };
  networks.set(text, network);
  return network;
}

/** Is this IP literal, or the name `localhost`, the machine itself? */
export function isLoopback(host: string): boolean {
  const bytes = addressBytes(host);
  if (bytes !== undefined) return covers(loopback, bytes);
  return /(^|\.)(localhost|localhost6|localhost\.localdomain|ip6-localhost|ip6-loopback)$/.test(host);
}

/**
 * What speaks against an IP literal as an upstream, or undefined. The same check is made on what a user writes and on
 * what discovery finds, because a name may be made to point anywhere after it was accepted.
 */
export function addressFault(address: string, policy: Pick<UpstreamPolicy, 'allowLoopback'>): AddressFault | undefined {
  const bytes = addressBytes(address);
  if (bytes === undefined) return { code: 'service_bad_address', message: `${address} is not an IP address.` };
  if (covers(loopback, bytes)) return policy.allowLoopback ? undefined : loopbackFault(address);
  const hit = forbidden.find(({ networks }) => covers(networks, bytes));
  return hit === undefined
    ? undefined
    : { code: hit.code, message: `${address} ${hit.what}: it cannot be a service. Name the service instead.` };
}

/** The refusal of the machine itself as an upstream. */
export function loopbackFault(host: string): AddressFault {
  return {
    code: 'service_loopback',
    message: `${host} is the gateway's own machine. Name the service, or have an operator set allowLoopbackUpstreams on the gateway.`,
  };
}

/** `address:port` with an IP literal (IPv6 in brackets), as a static service list names an instance; undefined for anything else. */
export function parseInstance(text: string): { address: string; port: number } | undefined {
  const parts = /^(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([1-9][0-9]{0,4})$/.exec(text);
  const address = parts?.[1] ?? parts?.[2] ?? '';
  const port = Number(parts?.[3]);
  const family = parts?.[1] === undefined ? 4 : 6;
  return isIP(address) === family && port <= 65_535 ? { address, port } : undefined;
}
