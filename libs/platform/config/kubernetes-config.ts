import { z } from 'zod';

import { ConfigError } from './environment.js';

/** How a process reaches the API server of its Kubernetes, and what it looks at there. */
export interface KubernetesConfig {
  readonly reach:
    | { readonly by: 'pod'; readonly host: string; readonly port: string; readonly folder: string }
    | { readonly by: 'kubeconfig'; readonly path: string };
  /** Where a service without a namespace is looked for; undefined: where the process itself is. */
  readonly namespace: string | undefined;
  /** The namespaces whose Services may be upstreams; undefined: the process's own; none: all. */
  readonly namespaces: readonly string[] | undefined;
  /** The namespace whose labelled Secrets are certificates; undefined: no Secret is looked at. */
  readonly certificates: string | undefined;
  /** The namespace in which certificates of the API are kept as Secrets as well; undefined: they are not. */
  readonly publish: string | undefined;
}

const namespace = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'must be the name of a namespace');
const namespaces = z.string().regex(/^(\*|[a-z0-9-]+( *, *[a-z0-9-]+)*)$/, 'must be namespaces, separated by commas, or *');

/** To be spread into the variables of a process that may look at Kubernetes. */
export const kubernetesVariables = {
  CHANCERY_KUBERNETES: z.enum(['off', 'pod', 'kubeconfig'], { error: 'must be off, pod or kubeconfig' }).default('off'),
  CHANCERY_KUBECONFIG: z.string().optional(),
  CHANCERY_KUBERNETES_ACCOUNT_DIR: z.string().default('/var/run/secrets/kubernetes.io/serviceaccount'),
  CHANCERY_KUBERNETES_NAMESPACE: namespace.optional(),
  CHANCERY_KUBERNETES_NAMESPACES: namespaces.optional(),
  CHANCERY_KUBERNETES_CERTIFICATES: namespace.optional(),
  CHANCERY_KUBERNETES_PUBLISH: namespace.optional(),
  KUBERNETES_SERVICE_HOST: z.string().optional(),
  KUBERNETES_SERVICE_PORT: z.string().optional(),
};

/** Undefined: there is none. @throws ConfigError naming what is missing */
export function readKubernetes(read: z.infer<z.ZodObject<typeof kubernetesVariables>>): KubernetesConfig | undefined {
  if (read.CHANCERY_KUBERNETES === 'off') return undefined;
  const list = read.CHANCERY_KUBERNETES_NAMESPACES;
  return {
    reach: read.CHANCERY_KUBERNETES === 'pod' ? podOf(read) : kubeconfigOf(read),
    namespace: read.CHANCERY_KUBERNETES_NAMESPACE,
    namespaces: list === undefined ? undefined : list === '*' ? [] : list.split(',').map((name) => name.trim()),
    certificates: read.CHANCERY_KUBERNETES_CERTIFICATES,
    publish: read.CHANCERY_KUBERNETES_PUBLISH,
  };
}

function podOf(read: z.infer<z.ZodObject<typeof kubernetesVariables>>): KubernetesConfig['reach'] {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port, CHANCERY_KUBERNETES_ACCOUNT_DIR: folder } = read;
  if (host === undefined || port === undefined)
    throw new ConfigError([
      'CHANCERY_KUBERNETES: is pod, but this is none: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set',
    ]);
  return { by: 'pod', host, port, folder };
}

function kubeconfigOf({ CHANCERY_KUBECONFIG: path }: z.infer<z.ZodObject<typeof kubernetesVariables>>): KubernetesConfig['reach'] {
  if (path === undefined) throw new ConfigError(['CHANCERY_KUBECONFIG: is not set: the file with the context to use']);
  return { by: 'kubeconfig', path };
}
