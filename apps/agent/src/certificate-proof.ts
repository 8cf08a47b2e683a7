import type { Proof } from '#platform/envoy/proof.js';
import type { Manifest } from '#platform/xds/generated/delivery.js';

import { LiveProof, planProbes } from './live-proof.js';

/** Asks an Envoy that was restarted for the certificates of its release, as often as for its marker. Proven at once where there are none. */
export async function proveCertificates(
  { probes, proofAnswers }: Pick<Manifest, 'probes' | 'proofAnswers'>,
  options: { readonly timeoutMs: number; readonly abandoned: () => boolean },
): Promise<Proof> {
  if (probes.length === 0) return { proven: true, requests: 0, durationMs: 0 };
  const asked = new Map(probes.map(({ path, body }) => [path, body]));
  const plan = planProbes(asked, { path: '', body: '' }, proofAnswers).filter(({ path }) => path !== '');
  return new LiveProof(plan).run({ ...options, host: '', port: 0, headers: {} });
}
