import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';

import type { Database, DatabaseLog } from '#platform/database/database.js';
import { DomainError } from '#platform/kernel/errors.js';
import { giveWay, runInTurns } from '#platform/kernel/turns.js';

import { Combiner, databaseUnavailable } from './combiner.js';
import type {
  AppendResult,
  CommandContext,
  Decided,
  DecidedCommand,
  DecideWidely,
  HandleRequest,
  Outcome,
  SubjectRecord,
} from './command.js';
import { classify } from './database-errors.js';
import { checkPrecondition, claimTaken, compose, composing, referenceMissing, viewOf } from './decision.js';
import { refuseAsAppendWould } from './dry-run.js';
import { appendHeld } from './held-append.js';
import { readByKey, readOutcome } from './outcome-reader.js';
import { checkStorable } from './storable.js';
import { SubjectReader } from './subject-reader.js';
import { type DecideOnSnapshot, outcomeOf, readWhole, recordsOf, type WholeRequest, type WholeStream } from './whole-stream.js';
import { within } from './within.js';

export type {
  CommandContext,
  Decide,
  Decided,
  HandleRequest,
  NewEvent,
  Outcome,
  Precondition,
  RecordedEvent,
  SubjectRecord,
  View,
  WideView,
} from './command.js';

const DEADLINE_MS = 10_000;
/** Each round lost means that somebody else's command was recorded, so the log moves; a caller that lost this often is told so. */
const MOST_ROUNDS = 100;

/**
 * The one write path. `handle` reads the subjects that a command names, decides, and appends at exactly what was read; when somebody else was
 * faster it reads and decides again. Nothing takes effect without its record: both are one transaction.
 */
export class EventStore {
  private readonly pool: pg.Pool;
  private readonly reader: SubjectReader;
  private readonly combiners = new Map<string, Combiner>();
  private readonly deadlineMs: number;
  private readonly log: DatabaseLog | undefined;
  private closed = false;
  private handling = 0;

  constructor(options: { readonly database: Database; readonly log?: DatabaseLog; readonly deadlineMs?: number }) {
    this.pool = options.database.pool;
    this.reader = new SubjectReader(this.pool);
    this.deadlineMs = options.deadlineMs ?? DEADLINE_MS;
    this.log = options.log;
  }

  /**
   * Decides and records one command. Answers, or throws, within the store's deadline.
   * @throws DomainError whatever `decide` throws; stale `version_mismatch`; conflict `claim_taken`, `referenced`, `contended`; invalid
   * `reference_missing`, `idempotency_key_reused`, `unstorable`; unavailable `database_unavailable` (nothing happened) or `outcome_unknown`
   * (it may have: `extra.commandId` says which command to look for).
   */
  async handle(request: HandleRequest, decide: DecideWidely): Promise<Outcome> {
    if (this.closed) throw databaseUnavailable();
    checkStorable(request);
    this.handling += 1;
    const deadline = performance.now() + (request.deadlineMs ?? this.deadlineMs);
    try {
      for (let round = 0; round < MOST_ROUNDS; round++) {
        const outcome = await this.attempt(request, decide, deadline);
        if (outcome) return outcome;
        if (performance.now() > deadline) break;
        if (round > 2) await sleep(Math.random() * Math.min(2 ** round, 50)); // many processes on one subject: spread out
      }
      throw new DomainError(
        'conflict',
        'contended',
        `Others keep changing ${request.subjects.join(', ')}: nothing was recorded; try again.`,
      );
    } finally {
      this.handling -= 1;
    }
  }

  /**
   * The outcome of an earlier request under the same Idempotency-Key; undefined when there was none. For decisions that are prepared outside `handle`:
   * what was answered is not decided again.
   * @throws DomainError `idempotency_key_reused`.
   */
  async findReplay({ context, stream }: WholeRequest): Promise<Outcome | undefined> {
    if (!context.idempotencyKey) return undefined;
    const deadline = performance.now() + this.deadlineMs;
    const earlier = await this.lookUp(deadline, () => readByKey(this.pool, stream, context));
    return earlier && this.replay({ context, stream }, earlier, deadline);
  }

  /** All of a stream at one version, for a decision about it as a whole. */
  readWhole(stream: string): Promise<WholeStream> {
    return readWhole(this.pool, stream);
  }

  /**
   * Records what was decided on all of a stream without reading anything again: at that very version, or, where it rests on certain subjects only, if none of
   * those has changed. Undefined when something moved meanwhile: read and decide again.
   * @throws DomainError as `handle`.
   */
  async handleWhole(
    request: WholeRequest,
    { version, records }: WholeStream,
    decided: Decided,
    restsOn?: readonly string[],
  ): Promise<Outcome | undefined> {
    if (this.closed) throw databaseUnavailable();
    checkStorable({ ...request, subjects: [] });
    this.handling += 1;
    const deadline = performance.now() + (request.deadlineMs ?? this.deadlineMs);
    try {
      const before = await recordsOf(request, decided, records, restsOn);
      checkPrecondition({ subjects: request.precondition?.subjects ?? {} }, viewOf(version, before));
      const { streamVersion } = restsOn === undefined ? { streamVersion: version } : (request.precondition ?? {});
      const pinned = { ...request, subjects: [], precondition: streamVersion === undefined ? {} : { streamVersion } };
      const command = await runInTurns(composing(pinned, decided, { streamVersion: version, records: before }));
      await giveWay();
      const outcome = outcomeOf(request, decided, { command, before, version });
      await giveWay();
      // Nothing to do may be what the same request, sent twice, has done since it was first looked for.
      if (outcome.unchanged) return (await this.findReplay(request)) ?? outcome;
      if (outcome.dryRun) {
        await this.lookUp(deadline, () => refuseAsAppendWould(this.pool, command));
        return outcome;
      }
      const result = await this.append(command, deadline);
      if (result?.code === 'appended') return { ...outcome, version: result.version, recordedAt: result.recordedAt };
      return result && (await this.resolve({ ...request, subjects: [] }, result, deadline, before));
    } finally {
      this.handling -= 1;
    }
  }

  /**
   * As `handle`, for a command about its stream as a whole that others overtake again and again: nobody else can append while it decides.
   * Undefined when the stream could not be held in time: try again.
   */
  async handleHeld(request: WholeRequest, decide: DecideOnSnapshot): Promise<Outcome | undefined> {
    if (this.closed) throw databaseUnavailable();
    this.handling += 1;
    try {
      const held = await appendHeld(this.pool, request, decide);
      // Nothing to do may be what the same request, sent twice, has done since it was first looked for.
      if (held !== undefined && 'unchanged' in held && held.unchanged) return (await this.findReplay(request)) ?? held;
      if (held === undefined || !('refusal' in held)) return held;
      return await this.resolve({ ...request, subjects: [] }, held.refusal, performance.now() + this.deadlineMs, held.before);
    } finally {
      this.handling -= 1;
    }
  }

  /** Waits for the commands under way (each has its deadline), then refuses new ones. The database stays open: it is the caller's. */
  async close(): Promise<void> {
    this.closed = true;
    while (this.handling > 0) await sleep(5);
  }

  /** One round: undefined when the world moved between read and append. */
  private async attempt(request: HandleRequest, decide: DecideWidely, deadline: number): Promise<Outcome | undefined> {
    const { context, stream } = request;
    const read = await within(deadline, this.reader.read({ stream, subjects: subjectsOf(request), kinds: request.kinds ?? [] }, deadline));
    const before = read.records;
    if (context.idempotencyKey) {
      // After the subjects, never before: then a state that this key's first request made is not seen without the key.
      const earlier = await this.lookUp(deadline, () => readByKey(this.pool, stream, context));
      if (earlier) return this.replay(request, earlier, deadline);
    }
    const view = viewOf(read.streamVersion, before, read.kinds);
    checkPrecondition(request.precondition, view);
    const decision = decide(view);
    const decided: Decided = 'events' in decision ? decision : { events: decision, details: null };
    const command = compose(request, decided, read);
    const outcome = outcomeOf(request, decided, { command, before, version: view.streamVersion });
    if (outcome.unchanged) return outcome;
    if (outcome.dryRun) {
      await this.lookUp(deadline, () => refuseAsAppendWould(this.pool, command));
      return outcome;
    }
    const result = await this.append(command, deadline);
    if (!result) return undefined;
    if (result.code === 'appended') return { ...outcome, version: result.version, recordedAt: result.recordedAt };
    return this.resolve(request, result, deadline, before);
  }

  private async append(command: DecidedCommand, deadline: number): Promise<AppendResult | undefined> {
    let combiner = this.combiners.get(command.stream);
    if (!combiner) {
      for (const [name, other] of this.combiners) if (other.idle) this.combiners.delete(name); // streams come and go; their names are not kept
      combiner = new Combiner(this.pool, this.log);
      this.combiners.set(command.stream, combiner);
    }
    try {
      return await combiner.append(command, deadline);
    } catch (error) {
      if (classify(error) === 'raced') return undefined;
      throw error;
    }
  }

  private async resolve(
    request: HandleRequest,
    result: Exclude<AppendResult, { code: 'appended' }>,
    deadline: number,
    before: ReadonlyMap<string, SubjectRecord>,
  ): Promise<Outcome | undefined> {
    switch (result.code) {
      case 'subject_moved':
      case 'stream_moved':
      case 'again':
        return undefined; // read again: a precondition that no longer holds is reported from there
      case 'claim_taken':
        throw claimTaken(result.claim, result.owner);
      case 'referenced':
        throw new DomainError('conflict', 'referenced', `${result.subject} is in use by ${result.by}.`, {
          extra: { subject: result.subject, by: result.by },
        });
      case 'reference_missing':
        throw referenceMissing(result.subject);
      case 'key_reused':
        throw keyReused(request.context);
      case 'replayed':
        return this.replay(request, { version: result.version, fingerprint: request.context.fingerprint ?? null }, deadline);
      case 'committed': {
        this.log?.info({ commandId: request.context.commandId, version: result.version }, 'a lost commit was found recorded');
        const outcome = await this.lookUp(deadline, () => readOutcome(this.pool, request.stream, result.version));
        return { ...outcome, replayed: false, before };
      }
    }
  }

  private async replay(
    request: Pick<HandleRequest, 'context' | 'stream'>,
    earlier: { version: number; fingerprint: string | null },
    deadline: number,
  ): Promise<Outcome> {
    if (earlier.fingerprint !== (request.context.fingerprint ?? null)) throw keyReused(request.context);
    return this.lookUp(deadline, () => readOutcome(this.pool, request.stream, earlier.version));
  }

  /** A read that is tried again while the database is away, until the deadline. */
  private async lookUp<T>(deadline: number, read: () => Promise<T>): Promise<T> {
    for (let retryMs = 10; ; retryMs = Math.min(retryMs * 2, 500)) {
      try {
        return await within(deadline, read());
      } catch (error) {
        const failure = classify(error);
        if (error instanceof DomainError || failure === 'defect' || failure === 'unstorable') throw error;
        if (performance.now() + retryMs > deadline) throw databaseUnavailable(error);
        await sleep(retryMs);
      }
    }
  }
}

function subjectsOf({ subjects, precondition }: HandleRequest): readonly string[] {
  const conditioned = Object.keys(precondition?.subjects ?? {});
  return [...new Set(conditioned.length ? [...subjects, ...conditioned] : subjects)];
}

function keyReused({ idempotencyKey }: CommandContext): DomainError {
  return new DomainError(
    'invalid',
    'idempotency_key_reused',
    `The Idempotency-Key ${JSON.stringify(idempotencyKey)} was used for another request: take a new key for a new request.`,
  );
}
