import type { Members } from './canonical.js';

/** A version of the history, however long that is when the command runs: so many versions before its end (modulo its length). */
export interface Backwards {
  readonly back: number;
}

export interface Change {
  /** Until it is known what the version is: the one that it has, or another. */
  readonly condition?: 'right' | 'wrong';
  readonly op: 'put' | 'patch' | 'delete';
  /** `mapping/a`, `principal/p`, `gateway`. */
  readonly subject: string;
  readonly value?: Members;
  /** The subject's version before the set; 0 for one that does not exist. */
  readonly ifVersion?: number;
}

export interface ImportedDocument {
  readonly settings?: Members;
  readonly mappings?: Members[];
  readonly principals?: Members[];
}

/** What the histories do, as data: a failing one can be printed, shortened and typed in again. */
export type Command =
  | { readonly kind: 'create'; readonly name: string; readonly body: Members }
  | { readonly kind: 'replace' | 'upsert' | 'patch'; readonly name: string; readonly body: Members }
  | { readonly kind: 'delete'; readonly name: string }
  | { readonly kind: 'putPrincipal'; readonly name: string; readonly fingerprint: string }
  | { readonly kind: 'deletePrincipal'; readonly name: string }
  | { readonly kind: 'configure'; readonly patch: Members }
  | { readonly kind: 'changeset'; readonly changes: readonly Change[] }
  | { readonly kind: 'import'; readonly document: ImportedDocument; readonly owner?: string; readonly prune?: boolean }
  /** An export of an older version, imported: everything that it does not have goes. */
  | { readonly kind: 'reimport'; readonly of: Backwards }
  | { readonly kind: 'rollback'; readonly to: Backwards }
  | { readonly kind: 'revert'; readonly of: Backwards };

/** Puts the state that a subject had at a version under quarantine. It is no change of the configuration, and stands alone. */
export interface Quarantining {
  readonly subject: string;
  readonly at: Backwards;
}

/**
 * One command, or several that run at once. Each may say which version it is based on, and may be sent twice at once under one Idempotency-Key, to
 * different products where there are several.
 */
export interface Step {
  readonly commands: readonly (Command & {
    readonly basedOn?: 'head' | 'older';
    readonly isTwice?: boolean;
    /** Bring back what is under quarantine. */
    readonly isOverriding?: boolean;
  })[];
  readonly quarantining?: Quarantining;
}
