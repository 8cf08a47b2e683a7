import { Inject } from '@nestjs/common';
import { Command, CommandHandler, type ICommandHandler, QueryBus } from '@nestjs/cqrs';

import { digestingDocument } from '#features/history/configuration-document.js';
import { SubjectKinds } from '#features/history/subject-kind.js';
import { ReadRouteGuard } from '#features/mapping/read-route-guard.js';
import type { Db } from '#platform/database/database.js';
import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { type Decided, EventStore, type Outcome, type SubjectRecord } from '#platform/eventstore/event-store.js';
import { stateAt } from '#platform/eventstore/read-log.js';
import { handleOnSnapshot, type Snapshot } from '#platform/eventstore/snapshot-command.js';
import { isDatabaseUnavailable } from '#platform/http/database-fault.js';
import { DB } from '#platform/http/tokens.js';
import { DomainError } from '#platform/kernel/errors.js';
import { runInTurns } from '#platform/kernel/turns.js';

import { FindQuarantined } from './find-quarantined.js';
import { digestsOf, overriding } from './quarantine.js';
import { requireAdminFor, rollbackEvents, settingsSubject, WHOLE_DEADLINE_MS } from './restore.js';
import { versionNotFound } from './restore-input.js';

/** Where to go back to, and what whoever asks may do. */
export interface RollBackInput {
  readonly toVersion: number;
  readonly overrideQuarantine: boolean;
  /** Whether settings may be changed: the scope `admin`. */
  readonly mayConfigure: boolean;
}

export interface RolledBack {
  /** Its details are `{toVersion, digest, overriddenQuarantines?}`. */
  readonly outcome: Outcome;
  /** Of the configuration as it was read back after the commit; of a dry run the one that would be restored. */
  readonly restoredDigest: string;
}

/** Restores the whole configuration of a gateway as it was at a version, as a new version. */
export class RollBack extends Command<RolledBack> {
  constructor(
    readonly gateway: string,
    readonly input: RollBackInput,
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(RollBack)
export class RollBackHandler implements ICommandHandler<RollBack> {
  constructor(
    private readonly events: EventStore,
    private readonly kinds: SubjectKinds,
    private readonly queries: QueryBus,
    @Inject(DB) private readonly db: Db,
  ) {}

  /**
   * @throws DomainError not_found `gateway_not_found`; invalid `version_not_found`; conflict `state_quarantined`; forbidden `scope_missing`; unavailable
   * `outcome_unknown` when it was recorded and could not be read back; and as `handleOnSnapshot`. Error when what was restored is not what was: a defect.
   */
  async execute({ gateway, input, request }: RollBack): Promise<RolledBack> {
    const stream = `gateway/${gateway}`;
    const { context, ...rest } = request;
    const outcome = await handleOnSnapshot(
      this.events,
      { ...rest, deadlineMs: WHOLE_DEADLINE_MS, stream, context: { ...context, action: 'RollBack' } },
      this.decision(gateway, stream, input, request),
    );
    const digest = String(outcome.details?.digest);
    if (outcome.dryRun) return { outcome, restoredDigest: digest };
    const restoredDigest = await this.readBack(stream, outcome);
    if (restoredDigest === digest) return { outcome, restoredDigest };
    throw new Error(
      `version ${outcome.version} of ${stream} should restore version ${input.toVersion} (${digest}), and is ${restoredDigest}`,
    );
  }

  private decision(
    gateway: string,
    stream: string,
    input: RollBackInput,
    request: CommandRequest,
  ): (snapshot: Snapshot) => Promise<Decided> {
    const { toVersion, overrideQuarantine, mayConfigure } = input;
    let past: Promise<{ then: SubjectRecord[]; digest: string }> | undefined; // does not change, however often this is decided
    return async (snapshot) => {
      const { version, subjects } = snapshot;
      if (!subjects.has(settingsSubject)) throw new DomainError('not_found', 'gateway_not_found', `There is no gateway ${gateway}.`);
      if (toVersion < 1 || toVersion > version) throw versionNotFound('/toVersion', toVersion);
      past ??= this.read(stream, toVersion);
      const { then, digest } = await past;
      const events = await runInTurns(rollbackEvents(this.kinds, ...differing(subjects, then)));
      requireAdminFor(events, mayConfigure);
      const quarantined = events.length === 0 ? [] : await this.queries.execute(new FindQuarantined(gateway, digestsOf(events)));
      const guard = await this.queries.execute(new ReadRouteGuard(gateway, request));
      const decided = { events, details: { toVersion, digest, ...overriding(quarantined, overrideQuarantine) } };
      return guard.reviewedSnapshot(decided, snapshot);
    };
  }

  private async readBack(stream: string, { version, commandId }: Outcome): Promise<string> {
    try {
      return (await this.read(stream, version)).digest;
    } catch (error) {
      if (!isDatabaseUnavailable(error)) throw error;
      const message = `The rollback was recorded as version ${version}, and the database was lost before it could be compared: send the same request again with the same Idempotency-Key.`;
      throw new DomainError('unavailable', 'outcome_unknown', message, { extra: { commandId, version }, cause: error });
    }
  }

  private async read(stream: string, version: number): Promise<{ then: SubjectRecord[]; digest: string }> {
    const then = await stateAt(this.db, stream, version);
    return { then, digest: await runInTurns(digestingDocument(this.kinds, then)) };
  }
}

/** What was made by the same version is the same; of 100,000 mappings most have not changed, and need not be compared. */
function differing(now: Snapshot['subjects'], then: readonly SubjectRecord[]): [SubjectRecord[], SubjectRecord[]] {
  const same = new Set(then.filter((one) => now.get(one.subject)?.streamVersion === one.streamVersion).map(({ subject }) => subject));
  const rest = (records: Iterable<SubjectRecord>) => [...records].filter(({ subject }) => !same.has(subject));
  return [rest(now.values()), rest(then)];
}
