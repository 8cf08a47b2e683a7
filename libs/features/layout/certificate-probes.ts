import { type ChoosableCertificate, namesOf } from '#features/gateway/certificate-choice.envoy.js';
import type { ListenAddress } from '#features/gateway/gateway.js';
import { certificateSecretName } from '#features/gateway/tls-secrets.envoy.js';
import { certificateProbePath } from '#platform/envoy/certificate-probe.js';
import type { LiveProbe } from '#platform/xds/generated/delivery.js';
import { LISTENER_TYPE, type ResourceChange, SECRET_TYPE } from '#platform/xds/xds-resource.js';

/** A certificate that a listener has. */
export interface ServedCertificate extends ChoosableCertificate {
  /** SHA-256 of the certificate itself, lower-case hexadecimal. */
  readonly fingerprint: string;
}

/**
 * Which certificates new connections must get after a change, by each of the names that lead to one of its certificates; by all names after a change of the
 * listener, since names may lead to others then. An empty body says that what was asked about a certificate before is not asked any more.
 */
export function certificateProbes(
  change: Pick<ResourceChange, 'upserts' | 'removed'>,
  served: { readonly certificates: readonly ServedCertificate[]; readonly at: ListenAddress | null },
): LiveProbe[] {
  const { certificates, at } = served;
  const isOfListener = ({ typeUrl, name }: { typeUrl: string; name: string }) => typeUrl === LISTENER_TYPE && name === 'https';
  const all = change.upserts.some(isOfListener) || change.removed.some(isOfListener);
  const changed = new Set(change.upserts.filter(({ typeUrl }) => typeUrl === SECRET_TYPE).map(({ name }) => name));
  const probes: LiveProbe[] = [];
  for (const certificate of certificates) {
    const secret = certificateSecretName(certificate.name);
    if (!all && !changed.has(secret)) continue;
    probes.push({ path: `/${secret}`, body: '' });
    if (at === null) continue;
    for (const serverName of namesOf(certificate, certificates))
      probes.push({ path: certificateProbePath({ ...at, serverName, secret }), body: certificate.fingerprint });
  }
  return probes;
}
