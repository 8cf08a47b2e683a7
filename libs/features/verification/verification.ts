import type { LogFault } from '#platform/eventstore/log-fault.js';
import type { ComparedHead, LogHead } from '#platform/eventstore/log-heads.js';

/** A fault that the anchors show: of a stream, or of the anchor file itself. */
export interface AnchorFault extends Omit<LogFault, 'kind' | 'table'> {
  readonly kind: LogFault['kind'] | AnchorFileFaultKind;
  readonly table: LogFault['table'] | null;
  readonly stream: string | null;
  /** Of the anchor file, from 1. */
  readonly line: number | null;
}

export type AnchorFileFaultKind =
  /** A line's signature is not that of the key, or it is no anchor. */
  | 'anchor_invalid'
  /** A line does not follow the one before it: lines were removed, changed or put in. */
  | 'anchor_chain_broken'
  /** What was read of the file before is not there any more. */
  | 'anchor_file_rewritten'
  /** The file or the key cannot be read. */
  | 'anchor_unreadable';

/** A fault of the anchor file. */
export function anchorFileFault(kind: AnchorFileFaultKind, line: number | null, message: string): AnchorFault {
  return { kind, table: null, stream: null, line, version: null, subject: null, position: null, from: null, to: null, message };
}

/** An anchored head, with where it was anchored. */
export interface AnchoredHead extends LogHead {
  readonly line: number;
  readonly time: string;
}

interface StreamJudgement {
  /** The newest anchor that the database agrees with. */
  matched: AnchoredHead | undefined;
  changed: AnchorFault | undefined;
  missing: AnchorFault | undefined;
}

/**
 * What the anchors say of the database, anchor by anchor in the order of the file: for each stream the newest that it agrees with, the first that it
 * contradicts, and what is missing at its end.
 */
export class AnchorJudgement {
  readonly #streams = new Map<string, StreamJudgement>();

  add(anchor: AnchoredHead, { recorded, last }: Pick<ComparedHead, 'recorded' | 'last'>): void {
    const { stream } = anchor;
    const judged = this.#streams.get(stream) ?? { matched: undefined, changed: undefined, missing: undefined };
    this.#streams.set(stream, judged);
    if (recorded === anchor.hash) {
      if (judged.matched === undefined || judged.matched.version <= anchor.version) judged.matched = anchor;
    } else if (last === null || anchor.version > last) {
      if (judged.missing === undefined || (judged.missing.to ?? 0) < anchor.version)
        judged.missing = missingFault(anchor, last, judged.missing);
    } else judged.changed ??= changedFault(anchor, judged.matched?.version ?? 0);
  }

  /** The newest anchor of each stream that the database agreed with. */
  matched(): AnchoredHead[] {
    return [...this.#streams.values()].flatMap(({ matched }) => (matched === undefined ? [] : [matched]));
  }

  matchedOf(stream: string): AnchoredHead | undefined {
    return this.#streams.get(stream)?.matched;
  }

  /** The faults of a stream, the one of its lowest version first. */
  faultsOf(stream: string): AnchorFault[] {
    const { changed, missing } = this.#streams.get(stream) ?? {};
    return [changed, missing].filter((fault) => fault !== undefined);
  }

  faults(): AnchorFault[] {
    return [...this.#streams.keys()].sort().flatMap((stream) => this.faultsOf(stream));
  }

  streams(): string[] {
    return [...this.#streams.keys()];
  }
}

function missingFault(anchor: AnchoredHead, last: number | null, earlier: AnchorFault | undefined): AnchorFault {
  const from = (last ?? 0) + 1;
  const end = last === null ? 'there is no record of the stream' : `its log ends at version ${last}`;
  return {
    kind: last === null ? 'deleted' : 'truncated',
    table: last === null ? 'stream' : 'version',
    stream: anchor.stream,
    line: earlier?.line ?? anchor.line,
    version: from,
    subject: null,
    position: null,
    from,
    to: anchor.version,
    message: `${anchor.stream} was anchored at version ${anchor.version} on ${anchor.time}, and ${end}.`,
  };
}

function changedFault(anchor: AnchoredHead, matched: number): AnchorFault {
  const range =
    matched + 1 === anchor.version ? `version ${anchor.version}` : `one of the versions from ${matched + 1} to ${anchor.version}`;
  return {
    kind: 'anchor_mismatch',
    table: 'version',
    stream: anchor.stream,
    line: anchor.line,
    version: anchor.version,
    subject: null,
    position: null,
    from: matched + 1,
    to: anchor.version,
    message: `Version ${anchor.version} of ${anchor.stream} has another hash than the one anchored on ${anchor.time}: ${range} was changed, and the chain after it rebuilt.`,
  };
}
