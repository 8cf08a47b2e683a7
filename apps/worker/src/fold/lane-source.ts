import type { GatewaySettings } from '#features/gateway/gateway.js';

import type { FoldedCertificate } from './folded-certificate.js';
import type { FoldedMapping } from './gateway-fold.js';

/** Where a lane's mappings come from: the gateway as it is, or as it was at a version. */
export interface LaneSource {
  readonly gateway: string;
  readonly version: number;
  /** When the newest version was seen, in ms since 1970. */
  readonly seenAtMs: number;
  readonly settings: GatewaySettings;
  readonly mappings: ReadonlyMap<string, FoldedMapping>;
  readonly certificates: ReadonlyMap<string, FoldedCertificate>;
  /** Fingerprints of the clients that are known, by their names. */
  readonly principals: ReadonlyMap<string, string>;
}
