import type { ClusterScope } from '#features/discovery/cluster-source.js';
import { ConfigError } from '#platform/config/environment.js';
import type { KubernetesConfig } from '#platform/config/kubernetes-config.js';
import type { WorkerConfig } from '#platform/config/worker-config.js';
import { kubeconfigAccess, podAccess, podNamespace } from '#platform/kubernetes/api-access.js';
import { KeyFile } from '#platform/vault/key-file.js';

import type { SecretScope } from './secrets/cluster-secrets.js';

/** What a worker that knows Kubernetes is told of it. */
export interface OpenedCluster {
  readonly cluster: ClusterScope;
  readonly secrets: SecretScope | undefined;
}

/**
 * How the configured Kubernetes is reached, which Services of it may be upstreams, and which Secrets are certificates.
 * @throws ConfigError naming the file that cannot be used
 */
export async function openCluster(
  { reach, namespace, namespaces, certificates, publish }: KubernetesConfig,
  { kekFile }: Pick<WorkerConfig, 'kekFile'>,
): Promise<OpenedCluster> {
  const opened =
    reach.by === 'pod'
      ? { access: podAccess(reach), namespace: await podNamespace(reach) }
      : await kubeconfigAccess(reach.path).catch((error: unknown) => {
          throw new ConfigError([`CHANCERY_KUBECONFIG: ${(error as Error).message}`]);
        });
  const { access } = opened;
  const ownNamespace = namespace ?? opened.namespace ?? 'default';
  const cluster = { access, ownNamespace, namespaces: namespaces ?? [ownNamespace] };
  if (certificates === undefined && publish === undefined) return { cluster, secrets: undefined };
  if (kekFile === undefined)
    throw new ConfigError(['CHANCERY_KEK_FILE: is not set: certificates of Kubernetes are kept encrypted under it']);
  return { cluster, secrets: { access, watch: certificates, publish, keyFile: new KeyFile(kekFile) } };
}
