import { z } from 'zod';

import { isoTime, warningSchema } from '#platform/http/answer-schemas.js';

const facts = {
  name: z.string(),
  fingerprint: z.string().describe('SHA-256 of the certificate, 64 hexadecimal digits.'),
  chainFingerprint: z.string().describe('SHA-256 of the certificates of the chain, one after the other.'),
  serial: z.string(),
  subject: z.string(),
  sans: z.object({ dns: z.array(z.string()), ip: z.array(z.string()) }),
  issuer: z.string(),
  notBefore: isoTime,
  notAfter: isoTime,
  keyAlgorithm: z.string().describe('RSA 2048, EC P-256, Ed25519.'),
  chainLength: z.int(),
  source: z.enum(['api', 'kubernetes']),
  expiresAt: isoTime,
  daysLeft: z.int().describe('Whole days; negative once it has expired.'),
  state: z.enum(['valid', 'expiring', 'expired']).describe('expiring: within 30 days.'),
  version: z.int().describe("The certificate's own version; its ETag."),
  gatewayVersion: z.int().describe("The gateway's version that made it."),
  recordedAt: isoTime.nullable(),
};

const use = {
  serves: z
    .object({
      hosts: z.array(z.object({ host: z.string(), mappings: z.array(z.string()).describe('The first 100.'), mappingCount: z.int() })),
      hostCount: z.int(),
    })
    .describe(
      "What it covers of the gateway's mappings, as far as the projector has come; at most 100 hosts. Mappings of any host are not among them.",
    ),
  live: z
    .array(z.object({ target: z.string(), fingerprint: z.string(), provenAt: isoTime, current: z.boolean() }))
    .describe('Targets that were seen to serve it, or an earlier one of its name (`current`: false).'),
  pending: z
    .array(z.string())
    .describe('Targets that are here and were not seen to serve it as it is now; Envoys without an agent are not among them.'),
  problem: z
    .object({ code: z.string(), message: z.string(), since: isoTime })
    .nullable()
    .describe(
      'Why it does not serve as it is now (its key cannot be opened, Envoy refuses it: the one before serves on), or why its Secret was not taken.',
    ),
  usedBy: z.array(z.string()).describe('What names it, so that it cannot be deleted: gateway (the settings), mapping/<name>.'),
};

/** A certificate in the list. There is no member for the key in any answer. */
export const certificateSchema = z.object({ ...facts, ...use });

/** A certificate as it is read by itself. */
export const certificateWithChainSchema = certificateSchema.extend({ certificateChain: z.string().describe('PEM.') });

/** A certificate as a write answers it. */
export const writtenCertificateSchema = z.object({ ...facts, unchanged: z.boolean(), warnings: z.array(warningSchema) });

export const deletedCertificateSchema = z.object({ name: z.string(), deleted: z.literal(true), gatewayVersion: z.int() });
