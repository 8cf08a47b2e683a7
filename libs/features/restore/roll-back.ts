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
import type { JsonObject } from '#platform/kernel/json.js';
import { eachInTurns, runInTurns } from '#platform/kernel/turns.js';

import { FindQuarantined } from './find-quarantined.js';
import { findLostSecrets } from './lost-secrets.js';
import { digestsOf, overriding } from './quarantine.js';
import {
  planRollback,
  type RollbackException,
  requireAdminFor,
  requireCertificatesFor,
  settingsSubject,
  WHOLE_DEADLINE_MS,
} from './restore.js';
import { versionNotFound } from './restore-input.js';

/** Where to go back to, and what whoever asks may do. */
export interface RollBackInput {
  readonly toVersion: number;
  readonly overrideQuarantine: boolean;
  /** Whether settings may be changed: the scope `admin`. */
  readonly mayConfigure: boolean;
  /** Certificates go back too; without it they stay as they are now. */
  readonly includeCertificates: boolean;
  /** Whether they may be changed: the scope `certificates`. */
  readonly mayCertify: boolean;
}

export interface RolledBack {
  /** Its details are `{toVersion, digest, includeCertificates?, exceptions?, overriddenQuarantines?}`. */
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
    const restoredDigest = await this.readBack(stream, outcome, this.covered(outcome.details));
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
    const { toVersion, overrideQuarantine, mayConfigure, mayCertify, includeCertificates } = input;
    let past: Promise<SubjectRecord[]> | undefined; // does not change, however often this is decided
    const digests = new Map<string, string>(); // nor does what is covered of it, as good as always
    return async (snapshot) => {
      const { version, subjects } = snapshot;
      if (!subjects.has(settingsSubject)) throw new DomainError('not_found', 'gateway_not_found', `There is no gateway ${gateway}.`);
      if (toVersion < 1 || toVersion > version) throw versionNotFound('/toVersion', toVersion);
      past ??= stateAt(this.db, stream, toVersion);
      const then = await past;
      const secrets = includeCertificates ? { at: new Date(), lost: await this.lostSecrets(then) } : undefined;
      const { events, exceptions } = await runInTurns(planRollback(this.kinds, ...(await differing(subjects, then)), secrets));
      requireAdminFor(events, mayConfigure);
      requireCertificatesFor(this.kinds, events, mayCertify);
      const quarantined = events.length === 0 ? [] : await this.queries.execute(new FindQuarantined(gateway, digestsOf(events)));
      const guard = await this.queries.execute(new ReadRouteGuard(gateway, request));
      const about = includeCertificates ? { includeCertificates, exceptions: exceptions.map((one) => ({ ...one })) } : {};
      const coverage = JSON.stringify(about);
      const digest = digests.get(coverage) ?? (await this.digestOf(then, this.covered(about)));
      digests.set(coverage, digest);
      const decided = { events, details: { toVersion, digest, ...about, ...overriding(quarantined, overrideQuarantine) } };
      return guard.reviewedSnapshot(decided, snapshot);
    };
  }

  private lostSecrets(then: readonly SubjectRecord[]): Promise<ReadonlySet<string>> {
    const states = then.map(({ subject, state, schemaVersion }) => ({ subject, state: this.kinds.upcast(subject, state, schemaVersion) }));
    return findLostSecrets({ db: this.db, kinds: this.kinds }, states);
  }

  /** What the digest is of, by what the record says: certificates stay as they are unless they were asked for, and those that are exceptions do. */
  private covered(details: JsonObject | null): (subject: string) => boolean {
    const { includeCertificates, exceptions = [] } = (details ?? {}) as {
      includeCertificates?: true;
      exceptions?: readonly RollbackException[];
    };
    const left = new Set(exceptions.map(({ subject }) => subject));
    return (subject) => !left.has(subject) && (includeCertificates === true || this.kinds.of(subject)?.secretOf === undefined);
  }

  private digestOf(records: readonly SubjectRecord[], covers: (subject: string) => boolean): Promise<string> {
    return runInTurns(digestingDocument(this.kinds, coveredOf(records, covers)));
  }

  private async readBack(stream: string, { version, commandId }: Outcome, covers: (subject: string) => boolean): Promise<string> {
    try {
      return await this.digestOf(await stateAt(this.db, stream, version), covers);
    } catch (error) {
      if (!isDatabaseUnavailable(error)) throw error;
      const message = `The rollback was recorded as version ${version}, and the database was lost before it could be compared: send the same request again with the same Idempotency-Key.`;
      throw new DomainError('unavailable', 'outcome_unknown', message, { extra: { commandId, version }, cause: error });
    }
  }
}

/** What was made by the same version is the same; of 100,000 mappings most have not changed, and need not be compared. */
async function differing(now: Snapshot['subjects'], then: readonly SubjectRecord[]): Promise<[SubjectRecord[], SubjectRecord[]]> {
  const same = new Set<string>();
  const [present, past]: [SubjectRecord[], SubjectRecord[]] = [[], []];
  await eachInTurns(then, (one) => {
    if (now.get(one.subject)?.streamVersion === one.streamVersion) same.add(one.subject);
    else past.push(one);
  });
  await eachInTurns(now.values(), (one) => {
    if (!same.has(one.subject)) present.push(one);
  });
  return [present, past];
}

function* coveredOf(records: readonly SubjectRecord[], covers: (subject: string) => boolean): Iterable<SubjectRecord> {
  for (const record of records) if (covers(record.subject)) yield record;
}
