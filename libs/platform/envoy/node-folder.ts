import { mkdirSync, realpathSync } from 'node:fs';
import { join } from 'node:path';

/** A Unix socket's path may have 107 characters on Linux; Node and Envoy both refuse more. */
const MAX_SOCKET_PATH = 107;

/**
 * The folder of one Envoy: its working directory, so that a configuration may name what it needs by relative paths and the folder may
 * be moved between machines. Holds configs, endpoint files, releases and the admin socket; all of it is private to its owner (0700).
 */
export interface NodeFolder {
  readonly path: string;
  readonly adminSocket: string;
  readonly configs: string;
  readonly endpoints: string;
  readonly releases: string;
  readonly logs: string;
  readonly shadow: string;
  /** Where an Envoy that is delivered live asks for its resources. */
  readonly xdsSocket: string;
  /** The live store. */
  readonly live: string;
}

/** What every configuration names as its admin address: relative to the node's folder, so one path serves all epochs. */
export const ADMIN_SOCKET = 'admin.sock';

/** What a configuration for live delivery names as its ADS server: the agent, relative to the node's folder as well. */
export const XDS_SOCKET = 'xds.sock';

/** Makes the folder and its parts where they are missing. Throws when the admin socket's path would be too long for a Unix socket. */
export function openNodeFolder(path: string): NodeFolder {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const real = realpathSync(path);
  const folder: NodeFolder = {
    path: real,
    adminSocket: join(real, ADMIN_SOCKET),
    configs: join(real, 'configs'),
    endpoints: join(real, 'endpoints'),
    releases: join(real, 'releases'),
    logs: join(real, 'logs'),
    shadow: join(real, 'shadow'),
    xdsSocket: join(real, XDS_SOCKET),
    live: join(real, 'live'),
  };
  const longest = join(folder.shadow, ADMIN_SOCKET);
  if (Buffer.byteLength(longest) > MAX_SOCKET_PATH) {
    throw new Error(
      `The node folder ${real} is too deep: its admin socket ${longest} has ${Buffer.byteLength(longest)} bytes, ` +
        `a Unix socket's path may have ${MAX_SOCKET_PATH}. Choose a shorter folder.`,
    );
  }
  for (const part of [folder.configs, folder.endpoints, folder.releases, folder.logs, folder.shadow])
    mkdirSync(part, { recursive: true, mode: 0o700 });
  return folder;
}
