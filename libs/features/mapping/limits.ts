/**
 * The budgets of a mapping, each below what Envoy 1.40 was seen to take. They are checked before anything is recorded,
 * so no one mapping can make the whole configuration too big to load.
 */
export const limits = {
  nameLength: 64,
  /** RFC 1035: 253 characters of text make the 255 octets of a name. */
  hostLength: 253,
  hostLabelLength: 63,
  /** Prefix, path, rewrite and service; the original's limit. */
  textLength: 2048,
  /** 21 methods exist; more than this is a client's mistake, and each costs a route. */
  methods: 16,
  headers: 16,
  headerNameLength: 128,
  headerValueLength: 1024,
  labels: 32,
  labelKeyLength: 63,
  labelValueLength: 256,
  precedenceMin: -1000,
  precedenceMax: 1000,
  timeoutMinMs: 1,
  /** An hour. Longer requests do not survive a hot restart's window anyway. */
  timeoutMaxMs: 3_600_000,
  /** The whole state as canonical JSON. */
  stateBytes: 16_384,
  /** Measured: 100,000 routes are 18 MB of bootstrap, 4 s to validate and 390 MB in Envoy. */
  mappingsPerGateway: 100_000,
} as const;
