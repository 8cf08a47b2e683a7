import { readFile } from 'node:fs/promises';
import type { RequestOptions } from 'node:https';
import { isIPv6 } from 'node:net';

import type { ApiAccess } from './api-connection.js';

/** Where a pod finds its API server and its service account. */
export interface PodEnvironment {
  readonly host: string;
  readonly port: string;
  /** Holds `token`, `ca.crt` and `namespace`. */
  readonly folder: string;
}

/** As a pod's service account. The files are read for each request: the kubelet replaces a token long before it ends. */
export function podAccess({ host, port, folder }: PodEnvironment): ApiAccess {
  return {
    server: `https://${isIPv6(host) ? `[${host}]` : host}:${port}`,
    credentials: async () => {
      const [token, ca] = await Promise.all([readFile(`${folder}/token`, 'utf8'), readFile(`${folder}/ca.crt`)]);
      return { ca, headers: { authorization: `Bearer ${token.trim()}` } };
    },
  };
}

/** The namespace of a pod; undefined outside of one. */
export async function podNamespace({ folder }: PodEnvironment): Promise<string | undefined> {
  const text = await readFile(`${folder}/namespace`, 'utf8').catch(() => '');
  return text.trim() || undefined;
}

/**
 * As a kubeconfig's current context says, with everything that those know (client certificates, exec plugins, OIDC). The library that reads them is
 * loaded here and nowhere else: it brings the models of the whole API with it, 86 MB of memory, which a worker in a pod has no use for.
 * @throws Error naming what the file lacks.
 */
export async function kubeconfigAccess(path: string): Promise<{ access: ApiAccess; namespace: string | undefined }> {
  const { KubeConfig } = await import('@kubernetes/client-node');
  const config = new KubeConfig();
  config.loadFromFile(path);
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new Error(`${path}: there is no cluster in its current context`);
  const namespace = config.getContextObject(config.getCurrentContext())?.namespace;
  return {
    namespace,
    access: {
      server: cluster.server,
      credentials: async () => {
        const options: RequestOptions = {};
        await config.applyToHTTPSOptions(options);
        return options;
      },
    },
  };
}
