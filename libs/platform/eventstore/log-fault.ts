/** How a table of the log differs from what was written. */
export type LogFaultKind =
  /** A record does not have the hash that it was written with. */
  | 'altered'
  /** A record is missing; what is left points at it. */
  | 'deleted'
  /** A record is there that was never appended. */
  | 'inserted'
  /** Records are at each other's place. */
  | 'reordered'
  /** Versions are missing and nothing of them is left. */
  | 'gap'
  /** The head is not the last version. */
  | 'head_mismatch'
  /** The log ends before a version that an anchor names. */
  | 'truncated'
  /** The version has another hash than the one that was pinned outside: the chain was rebuilt. */
  | 'anchor_mismatch'
  /** A table that follows from the events says something else than they do. */
  | 'state_mismatch';

export type LogTable = 'stream' | 'version' | 'event' | 'subject' | 'subject_history' | 'claim' | 'reference' | 'confirmation';

/** The first fault of a stream. */
export interface LogFault {
  readonly kind: LogFaultKind;
  readonly table: LogTable;
  /** Of the stream; null when no version can be named. */
  readonly version: number | null;
  readonly subject: string | null;
  /** Of an event within its version, from 0. */
  readonly position: number | null;
  /** The versions that are in doubt, both inclusive; null when it is `version` alone. */
  readonly from: number | null;
  readonly to: number | null;
  readonly message: string;
}

/** A fault with what does not apply left out. */
export function logFault(fault: Pick<LogFault, 'kind' | 'table' | 'message'> & Partial<LogFault>): LogFault {
  return { version: null, subject: null, position: null, from: null, to: null, ...fault };
}

/** A version with its hash (hexadecimal), known to be right. */
export interface PinnedVersion {
  readonly version: number;
  readonly hash: string;
}
