import { createHash } from 'node:crypto';
import { isIP } from 'node:net';
import { connect } from 'node:tls';

/** A question to a TLS listener: which certificate does a client get that asks for this name? The answer is a certificate's SHA-256, hexadecimal. */
export interface CertificateProbe {
  readonly address: string;
  readonly port: number;
  /** '' for a client that asks for none. */
  readonly serverName: string;
  /** The secret that the certificate comes from. */
  readonly secret: string;
}

const SCHEME = 'tls://';

/** A probe as one text, among the paths of other probes: the last part is the name of the resource that answers, as with those. */
export function certificateProbePath({ address, port, serverName, secret }: CertificateProbe): string {
  const host = isIP(address) === 6 ? `[${address}]` : address;
  return `${SCHEME}${host}:${port}/${serverName}/${secret}`;
}

/** The probe that a path stands for; undefined for one that is asked over http. */
export function certificateProbeOf(path: string): CertificateProbe | undefined {
  const [, bracketed, plain, port, serverName = '', secret = ''] =
    /^tls:\/\/(?:\[([0-9a-f:.]+)\]|([0-9.]+)):(\d+)\/([^/]*)\/([^/]+)$/.exec(path) ?? [];
  const address = bracketed ?? plain;
  return address === undefined ? undefined : { address, port: Number(port), serverName, secret };
}

/** A handshake that has not come to the certificate in this time is given up. Milliseconds. */
const HANDSHAKE_TIMEOUT_MS = 1000;

/**
 * One handshake on a connection of its own. `fingerprint` null: none came, and `seen` says why. Nothing is verified but that, since it is the bytes of the
 * certificate that are asked about. TLS 1.3 alone: with it the server's certificate comes whether or not it demands one of the client afterwards.
 */
export function askCertificate({ address, port, serverName }: CertificateProbe): Promise<{ fingerprint: string | null; seen: string }> {
  return new Promise((resolve) => {
    const socket = connect({
      host: reachable(address),
      port,
      ...(serverName === '' ? {} : { servername: serverName }),
      rejectUnauthorized: false,
      minVersion: 'TLSv1.3',
      ALPNProtocols: ['http/1.1'],
    });
    const finish = (fingerprint: string | null, seen: string) => {
      clearTimeout(deadline);
      socket.destroy();
      resolve({ fingerprint, seen });
    };
    const deadline = setTimeout(() => finish(null, `no handshake within ${HANDSHAKE_TIMEOUT_MS} ms`), HANDSHAKE_TIMEOUT_MS);
    socket.on('secureConnect', () => {
      const certificate = socket.getPeerX509Certificate();
      if (certificate === undefined) return finish(null, 'a handshake without a certificate');
      finish(createHash('sha256').update(certificate.raw).digest('hex'), `the certificate with the serial ${certificate.serialNumber}`);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => finish(null, error.code ?? error.message));
    socket.on('close', () => finish(null, 'closed before the handshake was done'));
  });
}

/** A wildcard is no destination. */
function reachable(address: string): string {
  if (address === '0.0.0.0') return '127.0.0.1';
  return address === '::' ? '::1' : address;
}
