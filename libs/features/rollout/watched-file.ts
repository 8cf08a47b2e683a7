import type { DiscoveryResponse } from '#platform/envoy/model/cluster.js';
import { contentHash } from '#platform/kernel/digest.js';
import { canonicalJson } from '#platform/kernel/json.js';

/** The bytes of a file that Envoy watches. */
export function watchedFile(resources: DiscoveryResponse['resources']): Buffer {
  const response: DiscoveryResponse = { version_info: contentHash(resources), resources };
  return Buffer.from(canonicalJson(response));
}
