import { DomainError } from '#platform/kernel/errors.js';

/** A version's number as it stands in an address; undefined for what is no number, or more than any version will ever be. */
export function parseVersion(text: string): number | undefined {
  return /^(?:0|[1-9]\d{0,14})$/.test(text) ? Number(text) : undefined;
}

/**
 * The number, when the gateway has such a version: never the head for one that does not exist. 0 is the state before the first version.
 * @throws DomainError not_found `gateway_not_found` for a stream without versions, `version_not_found`.
 */
export function checkVersion(version: number | undefined, { head, least }: { readonly head: number; readonly least: 0 | 1 }): number {
  if (head === 0) throw new DomainError('not_found', 'gateway_not_found', 'There is no such gateway.');
  if (version !== undefined && version >= least && version <= head) return version;
  throw new DomainError('not_found', 'version_not_found', `This gateway has no version of this number; its newest is ${head}.`, {
    extra: { currentVersion: head },
  });
}
