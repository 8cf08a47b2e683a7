import type { Instance, ServicePicture } from '#platform/kubernetes/service-picture.js';

/** What Kubernetes has to say about a service. */
export interface ClusterAnswer {
  /** False: Kubernetes knows no such Service, and the name may be one of DNS. */
  readonly decides: boolean;
  readonly endpoints: readonly Instance[];
  readonly error: string;
}

/** The Service that a name means: `usersvc`, `usersvc.shop`, `usersvc.shop.svc`, `usersvc.shop.svc.cluster.local`. */
export interface ClusterTarget {
  readonly namespace: string;
  readonly name: string;
  /** The name can mean nothing else. */
  readonly isCertain: boolean;
}

/** Undefined for a name that cannot be a Service's. A name without a namespace is looked for in `ownNamespace`. */
export function clusterTarget(service: string, ownNamespace: string): ClusterTarget | undefined {
  const [name = '', namespace, ...rest] = service.split('.');
  if (namespace === undefined) return { namespace: ownNamespace, name, isCertain: false };
  if (rest.length === 0) return { namespace, name, isCertain: false };
  return ['svc', 'svc.cluster.local'].includes(rest.join('.')) ? { namespace, name, isCertain: true } : undefined;
}

/** Every name under which a mapping may ask for a Service. */
export function clusterNames({ namespace, name }: { readonly namespace: string; readonly name: string }, ownNamespace: string): string[] {
  const full = `${name}.${namespace}`;
  return [...(namespace === ownNamespace ? [name] : []), full, `${full}.svc`, `${full}.svc.cluster.local`];
}

/**
 * What is known of one port of a Service.
 * @param picture undefined: there is no such Service, as far as is known
 * @param isListed whether its namespace was listed; undefined when it is not watched
 */
export function clusterAnswer(
  { namespace, name, isCertain }: ClusterTarget,
  port: number,
  { picture, isListed }: { readonly picture: ServicePicture | undefined; readonly isListed: boolean | undefined },
): ClusterAnswer {
  const nothing = (error: string, decides: boolean): ClusterAnswer => ({ decides, endpoints: [], error: `Kubernetes: ${error}` });
  if (picture === undefined) {
    if (isListed === undefined) return nothing(`the namespace ${namespace} is not watched.`, isCertain);
    if (!isListed) return nothing('its API server has not answered yet.', isCertain);
    return nothing(`there is no Service ${name} in the namespace ${namespace}.`, isCertain);
  }
  // Whoever may write a mapping is not thereby let through to the cluster's own API.
  if (namespace === 'default' && name === 'kubernetes') return nothing('the API server itself cannot be an upstream.', true);
  if (picture.error !== '') return nothing(`${picture.error}.`, true);
  if (picture.addresses !== undefined) {
    if (picture.addresses.length === 0) return nothing(NO_INSTANCE, true);
    return { decides: true, endpoints: picture.addresses.map((address) => ({ address, port })), error: '' };
  }
  const found = picture.ports.find((one) => one.port === port);
  if (found === undefined) return nothing(`the Service ${name} has no port ${port}${portsOf(picture)}.`, true);
  return found.instances.length === 0 ? nothing(NO_INSTANCE, true) : { decides: true, endpoints: found.instances, error: '' };
}

const NO_INSTANCE = 'no instance of it is ready.';

function portsOf({ ports }: ServicePicture): string {
  if (ports.length === 0) return ', and none other';
  return `; it has ${ports.map(({ port, name }) => (name === '' ? port : `${port} (${name})`)).join(', ')}`;
}
