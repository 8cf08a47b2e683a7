import { principalsOf } from '#features/gateway/client-check.envoy.js';
import type { GatewaySettings } from '#features/gateway/gateway.js';
import { certificateSecretName } from '#features/gateway/tls-secrets.envoy.js';
import type { ListenerSecrets } from '#features/layout/node-resources.js';
import type { Phase } from '#features/layout/phase.js';

import type { LaneSource } from '../fold/lane-source.js';
import type { NodeSecrets } from '../secrets/lane-secrets.js';

/** What the resources that a node has of its own depend on, beside the node. */
export interface NodeBasis {
  readonly settings: Pick<GatewaySettings, 'http' | 'https' | 'tls' | 'idleTimeoutMs'>;
  readonly secrets: ListenerSecrets;
  /** See Admission. */
  readonly principals: readonly string[] | null;
  readonly phases: readonly Phase[];
}

export function nodeBasisOf(source: LaneSource, given: NodeSecrets, phases: readonly Phase[]): NodeBasis {
  const { http, https, tls, idleTimeoutMs } = source.settings;
  const { certificates, tickets } = given;
  // Authorities are in a secret, and long.
  const clientCertificates = tls.clientCertificates === null ? null : { ...tls.clientCertificates, caBundle: null };
  return {
    settings: { http, https, tls: { ...tls, clientCertificates }, idleTimeoutMs },
    secrets: { certificates: certificates.map(({ name }) => certificateSecretName(name)), tickets },
    principals: principalsOf(tls.clientCertificates, source.principals.values()),
    phases,
  };
}
