/** What every object of the Kubernetes API has, as far as this product reads it. */
export interface ApiObject {
  readonly metadata?: {
    readonly name?: string;
    readonly namespace?: string;
    readonly resourceVersion?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly uid?: string;
  };
}

/** The key under which an object is kept: `namespace/name`. */
export function keyOf({ metadata }: ApiObject): string {
  return `${metadata?.namespace ?? ''}/${metadata?.name ?? ''}`;
}

export function versionOf({ metadata }: ApiObject): string {
  return metadata?.resourceVersion ?? '';
}

/**
 * Is `version` newer than `than`? Resource versions of one resource are whole numbers that grow (the API promises that they may be compared as
 * such, KEP-5504), larger than a double holds. What is no number cannot be compared, and counts as newer: to take something twice does no harm.
 */
export function isNewer(version: string, than: string): boolean {
  if (!/^\d+$/.test(version) || !/^\d+$/.test(than)) return version !== than;
  return version.length === than.length ? version > than : version.length > than.length;
}
