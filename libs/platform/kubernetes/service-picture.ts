import type { V1EndpointSlice, V1Service } from '@kubernetes/client-node';

/** Where one instance of a service listens. `address` is an IP literal. */
export interface Instance {
  readonly address: string;
  readonly port: number;
}

/** One port of a Service: what a client of the Service asks for, and where it is answered. */
export interface ServicePort {
  readonly port: number;
  readonly name: string;
  readonly instances: readonly Instance[];
}

/** A Service as a gateway needs it. Equal states of the cluster give equal pictures. */
export interface ServicePicture {
  readonly ports: readonly ServicePort[];
  /** A headless Service without ports: its instances answer on whatever port they are asked. */
  readonly addresses?: readonly string[];
  /** Why it cannot be an upstream at all; '' when it can. */
  readonly error: string;
}

export const EXTERNAL_NAME_REFUSED =
  'an ExternalName Service is only a name for somewhere else; name that host in the mapping, if it is meant';

/**
 * What a Service and its slices come to. An instance is one that is ready; when none is, those that are about to end but still answer, as kube-proxy
 * has it (KEP-1669). Of a dual-stack Service the family that comes first in it, and another only when that one has no instance: both name the same
 * pods.
 */
export function pictureOf(service: V1Service, slices: Iterable<V1EndpointSlice>): ServicePicture {
  const { type, clusterIP } = service.spec ?? {};
  const ports = service.spec?.ports ?? []; // what a list lacks is written as null as well as left out
  if (type === 'ExternalName') return { ports: [], error: EXTERNAL_NAME_REFUSED };
  const all = [...slices].filter(({ addressType }) => addressType === 'IPv4' || addressType === 'IPv6');
  const families = [...new Set([...(service.spec?.ipFamilies ?? []), 'IPv4', 'IPv6'])];
  const found = (of: (slice: V1EndpointSlice) => readonly number[]) => {
    for (const family of families) {
      const instances = instancesOf(
        all.filter(({ addressType }) => addressType === family),
        of,
      );
      if (instances.length > 0) return instances;
    }
    return [];
  };
  const pictured = ports
    .filter(({ protocol }) => (protocol ?? 'TCP') === 'TCP')
    .map(({ port, name }) => ({ port, name: name ?? '', instances: found((slice) => portsOf(slice, name ?? '', port)) }));
  if (clusterIP !== 'None' || ports.length > 0) return { ports: pictured, error: '' };
  return { ports: [], addresses: found(() => [0]).map(({ address }) => address), error: '' };
}

/** The numbers under which a slice has a port; a port of a slice without a number means any, so the Service's own. */
function portsOf(slice: V1EndpointSlice, name: string, own: number): number[] {
  const named = (slice.ports ?? []).filter((port) => (port.name ?? '') === name && (port.protocol ?? 'TCP') === 'TCP');
  return named.map(({ port }) => port ?? own);
}

/** Sorted, each once: an instance may stand in two slices while it moves from one to the other, and the better word counts. */
function instancesOf(slices: readonly V1EndpointSlice[], portsOfSlice: (slice: V1EndpointSlice) => readonly number[]): Instance[] {
  const states = new Map<string, { instance: Instance; isReady: boolean }>();
  for (const slice of slices) {
    const ports = portsOfSlice(slice);
    for (const { addresses, conditions } of slice.endpoints ?? []) {
      const isEnding = conditions?.terminating === true;
      const isReady = conditions?.ready ?? !isEnding; // unknown counts as ready
      if (!isReady && !(isEnding && conditions?.serving !== false)) continue;
      const address = addresses[0]; // several addresses of one endpoint are the same instance, says the API: the first is enough
      for (const port of address === undefined ? [] : ports) {
        const key = `${address} ${port}`;
        states.set(key, { instance: { address: address ?? '', port }, isReady: isReady || states.get(key)?.isReady === true });
      }
    }
  }
  const all = [...states].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, state]) => state);
  const ready = all.filter(({ isReady }) => isReady);
  return (ready.length > 0 ? ready : all).map(({ instance }) => instance);
}
