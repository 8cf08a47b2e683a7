import { ADMIN_SOCKET, XDS_SOCKET } from './node-folder.js';

/** The part of a bootstrap that the agent itself looks at; the rest passes through untouched. */
export interface ParsedBootstrap {
  readonly admin?: { readonly address?: { readonly pipe?: { readonly path?: string; readonly mode?: number } } };
  readonly dynamic_resources?: { readonly ads_config?: unknown; readonly cds_config?: unknown; readonly lds_config?: unknown };
  readonly static_resources?: { readonly listeners?: readonly ParsedListener[]; readonly [other: string]: unknown };
  readonly [other: string]: unknown;
}

interface ParsedListener {
  readonly name?: string;
  readonly address?: { readonly socket_address?: { readonly address?: string; readonly port_value?: number; readonly protocol?: string } };
  readonly additional_addresses?: readonly { readonly address?: unknown }[];
  readonly filter_chains?: readonly { readonly transport_socket?: unknown }[];
  readonly [other: string]: unknown;
}

export type BootstrapCheck =
  | { readonly ok: true; readonly bootstrap: ParsedBootstrap; readonly paths: readonly string[] }
  | { readonly ok: false; readonly code: string; readonly message: string };

/** Owner read and write, nobody else: the admin can end Envoy and shows every certificate. */
const ADMIN_MODE = 0o600;
/** Deeper than any Envoy configuration, and far from the stack's end. */
const MAX_DEPTH = 100;

/**
 * What Envoy would accept and this node must not: an admin elsewhere than on the node's own socket, files outside the node's folder, no
 * listener at all. Also what would cost the running Envoy its admin when it is found out by a child (no JSON, empty). Pure: `paths` are
 * the files that the configuration names, for the caller to look for. `live`: listeners and clusters come from the agent.
 */
export function checkBootstrap(bytes: Uint8Array, { live = false }: { live?: boolean } = {}): BootstrapCheck {
  if (bytes.length === 0) return refused('empty', 'the configuration is empty');
  let bootstrap: ParsedBootstrap;
  try {
    bootstrap = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    return refused('not_json', `the configuration is not JSON: ${(error as Error).message}`);
  }
  if (typeof bootstrap !== 'object' || bootstrap === null || Array.isArray(bootstrap))
    return refused('not_json', 'the configuration is not a JSON object');
  const pipe = bootstrap.admin?.address?.pipe;
  if (pipe?.path !== ADMIN_SOCKET || pipe.mode !== ADMIN_MODE) {
    return refused(
      'admin_address',
      `admin.address must be {"pipe": {"path": "${ADMIN_SOCKET}", "mode": ${ADMIN_MODE}}}, not ${JSON.stringify(bootstrap.admin?.address ?? null)}`,
    );
  }
  if (!live && (bootstrap.static_resources?.listeners?.length ?? 0) === 0)
    return refused('no_listener', 'the configuration has no listener: it would serve nothing');
  const { ads_config, cds_config, lds_config } = bootstrap.dynamic_resources ?? {};
  if (live && (ads_config === undefined || cds_config === undefined || lds_config === undefined))
    return refused('no_ads', 'dynamic_resources must have ads_config, cds_config and lds_config: it would serve nothing');
  const paths: string[] = [];
  const pipes: string[] = [];
  const fault = walk(bootstrap, '', 0, { paths, pipes });
  if (fault === null && live && !pipes.includes(XDS_SOCKET))
    return refused('no_ads', `no cluster has the address {"pipe": {"path": "${XDS_SOCKET}"}}: nobody would answer its ADS`);
  return fault === null ? { ok: true, bootstrap, paths } : { ok: false, ...fault };
}

function walk(
  value: unknown,
  pointer: string,
  depth: number,
  names: { readonly paths: string[]; readonly pipes: string[] },
): { code: string; message: string } | null {
  if (typeof value !== 'object' || value === null) return null;
  if (depth > MAX_DEPTH) return { code: 'too_deep', message: `the configuration is nested deeper than ${MAX_DEPTH} at ${pointer}` };
  for (const [key, member] of Object.entries(value)) {
    const here = `${pointer}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    const path = pathNamedBy(key, member);
    if (path !== null) {
      if (path.startsWith('/') || path.split('/').includes('..')) {
        return { code: 'path_outside', message: `${here} names ${JSON.stringify(path)}: only paths inside the node's folder are allowed` };
      }
      names.paths.push(path);
    }
    if (key === 'pipe') names.pipes.push(String((member as { path?: unknown } | null)?.path));
    const fault = walk(member, here, depth + 1, names);
    if (fault !== null) return fault;
  }
  return null;
}

/** The file that a member names: `filename` of a data source, and the path of a watched resource file or folder. */
function pathNamedBy(key: string, member: unknown): string | null {
  if (key === 'filename' && typeof member === 'string') return member;
  if ((key === 'path_config_source' || key === 'watched_directory') && typeof member === 'object' && member !== null) {
    const { path } = member as { path?: unknown };
    return typeof path === 'string' ? path : null;
  }
  return null;
}

function refused(code: string, message: string): BootstrapCheck {
  return { ok: false, code, message };
}

/**
 * The same configuration with every listener moved to a port of loopback that the kernel chooses, so that it can run beside the real
 * one: nothing from outside reaches it, and it takes no port from anybody.
 */
export function toShadow(bootstrap: ParsedBootstrap): ParsedBootstrap {
  const listeners = (bootstrap.static_resources?.listeners ?? []).map(({ additional_addresses: _moved, ...listener }) => ({
    ...listener,
    address: { socket_address: { ...listener.address?.socket_address, address: '127.0.0.1', port_value: 0 } },
  }));
  return { ...bootstrap, static_resources: { ...bootstrap.static_resources, listeners } };
}

/** Names of the listeners that speak plain HTTP over TCP: those that a marker can be asked of without a certificate. */
export function plainListeners(bootstrap: ParsedBootstrap): readonly string[] {
  return (bootstrap.static_resources?.listeners ?? []).flatMap(({ name, address, filter_chains = [] }) => {
    const plain = address?.socket_address?.protocol !== 'UDP' && filter_chains.every((chain) => chain.transport_socket === undefined);
    return plain && name !== undefined ? [name] : [];
  });
}
