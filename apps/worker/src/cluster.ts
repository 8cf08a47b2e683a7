import type { ClusterScope } from '#features/discovery/cluster-source.js';
import { ConfigError } from '#platform/config/environment.js';
import type { KubernetesConfig } from '#platform/config/kubernetes-config.js';
import { kubeconfigAccess, podAccess, podNamespace } from '#platform/kubernetes/api-access.js';

/** How the configured Kubernetes is reached, and which Services of it may be upstreams. @throws ConfigError naming the file that cannot be used */
export async function openCluster({ reach, namespace, namespaces }: KubernetesConfig): Promise<ClusterScope> {
  const opened =
    reach.by === 'pod'
      ? { access: podAccess(reach), namespace: await podNamespace(reach) }
      : await kubeconfigAccess(reach.path).catch((error: unknown) => {
          throw new ConfigError([`CHANCERY_KUBECONFIG: ${(error as Error).message}`]);
        });
  const ownNamespace = namespace ?? opened.namespace ?? 'default';
  return { access: opened.access, ownNamespace, namespaces: namespaces ?? [ownNamespace] };
}
