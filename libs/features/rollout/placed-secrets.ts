import { watched } from '#features/mapping/mapping-cluster.envoy.js';
import type { PathConfigSource } from '#platform/envoy/model/config-source.js';
import { endpointFile } from '#platform/envoy/model/reserved.js';
import type { StandingSecret } from '#platform/envoy/model/tls.js';

/** Certificates and what belongs to them, as files: those that Envoy watches change without a restart. */
export interface SecretFiles {
  /** Names of secrets in the order of the listener. None: there is no listener with TLS. */
  readonly certificates: readonly string[];
  readonly tickets: boolean;
  /** By the name of the secret. A file without bytes is for nodes that have it. */
  readonly files: ReadonlyMap<string, SecretFile>;
  /** The same certificates in the form that Envoy reads once, by the name of the secret. */
  readonly standing: ReadonlyMap<string, SecretFile>;
}

export interface SecretFile {
  /** What Envoy reads: JSON where it watches, PEM where it reads once. */
  readonly json: Buffer;
  readonly sha256: string;
}

/**
 * Certificates whose files one Envoy watches, beside its clusters' (see mostWatchedClusters): Envoy opens an inotify instance for each, whatever file or
 * folder it is told to watch, and aborts when there are no more. Those beyond by name are named by the bootstrap and read once, so that a rotation of one
 * of them is a hot restart.
 */
export const mostWatchedCertificates = 16;

/** Where the secrets of one configuration are. */
export interface PlacedSecrets {
  /** Undefined for one that the bootstrap names. */
  source(secret: string): PathConfigSource | undefined;
  /** What the bootstrap says of a secret that it names. */
  standing(secret: string): StandingSecret | undefined;
  /** The file of a secret, with its name; none for a secret without one. */
  file(secret: string): readonly (readonly [name: string, file: SecretFile])[];
}

/** Without secrets every one is watched: that is a configuration that is only tried or compared. */
export function placeSecrets(secrets: SecretFiles | undefined): PlacedSecrets {
  const beyond = new Map<string, readonly [name: string, file: SecretFile]>();
  for (const secret of secrets?.certificates.slice(mostWatchedCertificates) ?? []) {
    const file = secrets?.standing.get(secret);
    // Named by its content: an Envoy that still runs the release before reads its own.
    if (file !== undefined) beyond.set(secret, [`${secret}-${file.sha256.slice(0, 16)}`, file]);
  }
  return {
    source: (secret) => (beyond.has(secret) ? undefined : watched(secret)),
    standing(secret) {
      const [name] = beyond.get(secret) ?? [];
      if (name === undefined) return undefined;
      const pem = { filename: endpointFile(name) };
      return { name: secret, tls_certificate: { certificate_chain: pem, private_key: pem } };
    },
    file(secret) {
      const file = secrets?.files.get(secret);
      const own = beyond.get(secret) ?? (file === undefined ? undefined : ([secret, file] as const));
      return own === undefined ? [] : [own];
    },
  };
}

/** The secret whose file Envoy names when it says why it refuses a configuration; undefined when it names none that is read once. */
export function standingSecretIn(message: string): string | undefined {
  return /endpoints\/(certificate-[A-Za-z0-9._-]+)-[0-9a-f]{16}\.json/.exec(message)?.[1];
}
