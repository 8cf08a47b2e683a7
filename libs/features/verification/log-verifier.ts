import type { SubjectKinds } from '#features/history/subject-kind.js';
import type { Database, Db } from '#platform/database/database.js';
import type { LogFault, PinnedVersion } from '#platform/eventstore/log-fault.js';
import { type LogRights, readLogRights } from '#platform/eventstore/log-rights.js';
import { verifyChain } from '#platform/eventstore/verify-chain.js';
import { findHeldFault, findStateFault, listLoggedStreams, readHeldSubjects, subjectBatches } from '#platform/eventstore/verify-state.js';
import { DomainError } from '#platform/kernel/errors.js';

import type { AnchorArchive, AnchorsFound } from './anchor-archive.js';
import { findKindFault, isConfiguration } from './kind-claims.js';
import type { AnchorFault } from './verification.js';

export type VerificationMode = 'incremental' | 'full';

export interface StreamVerification {
  readonly stream: string;
  /** The version up to which it was verified. */
  readonly version: number;
  readonly hash: string;
  readonly ok: boolean;
  /** How many versions were recomputed. */
  readonly checked: number;
  readonly fault: LogFault | AnchorFault | null;
}

export interface Verification {
  readonly ok: boolean;
  readonly mode: VerificationMode;
  readonly checkedAt: string;
  readonly durationMs: number;
  readonly streams: readonly StreamVerification[];
  readonly anchors: {
    readonly configured: boolean;
    readonly ok: boolean;
    readonly count: number;
    readonly lastAt: string | null;
    readonly faults: readonly AnchorFault[];
  };
  readonly warnings: readonly { readonly code: string; readonly message: string; readonly pointer: string }[];
}

/** Long enough for any statement of a verification on a busy machine; each is a part of the whole. */
export const VERIFICATION_STATEMENT_MS = 120_000;

interface Running {
  readonly mode: VerificationMode;
  readonly result: Promise<Verification>;
  readonly stop: AbortController;
  /** Callers that still wait. */
  waiting: number;
}

/**
 * Verifies the whole log, one verification at a time: who asks while one runs gets its result, unless it is a smaller one than was asked for. When
 * nobody waits any more, it ends. It reads on a connection of its own and locks nothing.
 */
export class LogVerifier {
  readonly #verified = new Map<string, PinnedVersion>();
  #running: Running | undefined;

  /** `database` has its own limits (VERIFICATION_STATEMENT_MS) and is closed by whoever opened it. */
  constructor(
    private readonly parts: { readonly database: Database; readonly kinds: SubjectKinds; readonly anchors: AnchorArchive | undefined },
  ) {}

  /**
   * `incremental`: what is new since the last verification in this process that found a stream right, or else since its newest anchor; without both,
   * and with `full`, everything. `gone` is aborted when the caller no longer waits.
   * @throws whatever `gone` was aborted with; the errors of the database.
   */
  async verify(mode: VerificationMode, gone?: AbortSignal): Promise<Verification> {
    for (;;) {
      gone?.throwIfAborted();
      const running = this.#running ?? this.#start(mode);
      const covers = (running.mode === 'full' || mode === 'incremental') && !running.stop.signal.aborted;
      if (covers) return await waitFor(running, gone);
      await running.result.catch(() => undefined); // another's; ours comes after it
    }
  }

  /** Ends what runs. */
  stop(): void {
    this.#running?.stop.abort(stopped('this process ends; ask another'));
  }

  #start(mode: VerificationMode): Running {
    const stop = new AbortController();
    const result = this.#run(mode, stop.signal).finally(() => {
      this.#running = undefined;
    });
    result.catch(() => undefined); // its waiters are told; there may be none left
    this.#running = { mode, result, stop, waiting: 0 };
    return this.#running;
  }

  async #run(mode: VerificationMode, signal: AbortSignal): Promise<Verification> {
    const { db } = this.parts.database;
    const startedAt = performance.now();
    const checkedAt = new Date().toISOString();
    const anchors = await this.parts.anchors?.check(db, { whole: mode === 'full', signal });
    const known = await listLoggedStreams(db);
    const streams: StreamVerification[] = [];
    for (const stream of known) streams.push(await this.#verifyStream(db, stream, mode, anchors, signal));
    for (const stream of anchors?.judgement.streams() ?? []) if (!known.includes(stream)) streams.push(missingStream(stream, anchors));
    const anchorsOk = anchors === undefined || anchors.faults.length === 0;
    return {
      ok: anchorsOk && streams.every(({ ok }) => ok),
      mode,
      checkedAt,
      durationMs: Math.round(performance.now() - startedAt),
      streams,
      anchors: {
        configured: anchors !== undefined,
        ok: anchorsOk,
        count: anchors?.count ?? 0,
        lastAt: anchors?.lastAt ?? null,
        faults: anchors?.faults ?? [],
      },
      warnings: warningsOf(await readLogRights(db), anchors),
    };
  }

  async #verifyStream(
    db: Db,
    stream: string,
    mode: VerificationMode,
    anchors: AnchorsFound | undefined,
    signal: AbortSignal,
  ): Promise<StreamVerification> {
    const from = mode === 'full' ? undefined : (this.#verified.get(stream) ?? anchors?.judgement.matchedOf(stream));
    const chain = await verifyChain(db, stream, { signal, ...(from && { from }) });
    // When the chain was found broken on the way to what was pinned, the whole of it was read.
    const since = from === undefined || chain.verified.version < from.version ? 0 : from.version;
    const fault = chain.fault ?? anchors?.judgement.faultsOf(stream)[0] ?? (await this.#findStateFault(db, stream, since, signal));
    if (fault === null) this.#verified.set(stream, chain.verified);
    else this.#verified.delete(stream);
    return { stream, ...chain.verified, ok: fault === null, checked: chain.checked, fault };
  }

  /** The tables that follow from the events, against the events; of subjects that changed after `since`. */
  async #findStateFault(db: Db, stream: string, since: number, signal: AbortSignal): Promise<LogFault | null> {
    for await (const batch of subjectBatches(db, stream, since === 0 ? null : since)) {
      signal.throwIfAborted();
      const fault = await findStateFault(db, stream, batch);
      if (fault !== null) return fault;
      if (!isConfiguration(stream)) continue;
      const ofKind = findKindFault(this.parts.kinds, await readHeldSubjects(db, stream, batch));
      if (ofKind !== null) return ofKind;
    }
    signal.throwIfAborted();
    return findHeldFault(db, stream, since);
  }
}

/** Why a verification has no result. */
export function stopped(why: string): DomainError {
  return new DomainError('unavailable', 'verification_stopped', `The verification was stopped: ${why}.`);
}

async function waitFor(running: Running, gone: AbortSignal | undefined): Promise<Verification> {
  running.waiting += 1;
  let leave: () => void = () => undefined;
  const left = new Promise<never>((_resolve, reject) => {
    leave = () => reject(gone?.reason);
  });
  gone?.addEventListener('abort', leave, { once: true });
  try {
    return await Promise.race([running.result, left]);
  } finally {
    gone?.removeEventListener('abort', leave);
    running.waiting -= 1;
    if (running.waiting === 0) running.stop.abort(stopped('nobody waited for it any more'));
  }
}

function missingStream(stream: string, anchors: AnchorsFound | undefined): StreamVerification {
  return { stream, version: 0, hash: '', ok: false, checked: 0, fault: anchors?.judgement.faultsOf(stream)[0] ?? null };
}

function warningsOf(rights: LogRights, anchors: AnchorsFound | undefined): Verification['warnings'] {
  const warnings: { code: string; message: string }[] = [];
  if (rights.ownsTables)
    warnings.push({
      code: 'one_database_role',
      message: 'The application runs as the role that owns the log: it could switch its guards off. Run it as chancery_app.',
    });
  else if (rights.writable.length > 0)
    warnings.push({
      code: 'log_writable',
      message: `The application may write ${rights.writable.join(', ')} without the append functions: revoke that.`,
    });
  if (rights.unguarded.length > 0)
    warnings.push({
      code: 'guard_missing',
      message: `The triggers that refuse changes are off or missing on ${rights.unguarded.join(', ')}.`,
    });
  if (anchors === undefined)
    warnings.push({
      code: 'anchors_not_configured',
      message:
        'No anchors are kept outside the database (CHANCERY_ANCHOR_FILE): a log that was cut off at its end or rebuilt whole cannot be told from a true one.',
    });
  else if (anchors.empty)
    warnings.push({ code: 'anchors_empty', message: 'No anchor has been written yet, or the anchor file is missing.' });
  if (anchors !== undefined && anchors.torn > 0)
    warnings.push({
      code: 'anchor_torn',
      message: `${anchors.torn} write(s) of an anchor did not end; the anchors around them follow each other.`,
    });
  return warnings.map((warning) => ({ ...warning, pointer: '' }));
}
