import { X509Certificate } from 'node:crypto';

const mostBytes = 256 * 1024;

/** Why this text is no bundle of authorities, or undefined. */
export function caBundleFault(pem: string): { readonly code: string; readonly message: string } | undefined {
  const invalid = (message: string) => ({ code: 'ca_bundle_invalid', message });
  if (Buffer.byteLength(pem) > mostBytes) return invalid(`A bundle has at most ${mostBytes / 1024} KiB.`);
  if (pem.includes('PRIVATE KEY')) return invalid('There is a private key in it; give certificates alone.');
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) return invalid('Give certificates of authorities in PEM.');
  for (const [i, block] of blocks.entries()) {
    try {
      if (!new X509Certificate(block).ca) return invalid(`Certificate ${i + 1} of it is not that of an authority (CA:TRUE is missing).`);
    } catch {
      return invalid(`Certificate ${i + 1} of it cannot be read.`);
    }
  }
  return undefined;
}
