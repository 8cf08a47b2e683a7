import { Inject } from '@nestjs/common';
import { Command, CommandHandler, type ICommandHandler, QueryBus } from '@nestjs/cqrs';

import { SubjectKinds } from '#features/history/subject-kind.js';
import { ReadRouteGuard } from '#features/mapping/read-route-guard.js';
import type { Db } from '#platform/database/database.js';
import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';
import { readSubject } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';
import { DomainError } from '#platform/kernel/errors.js';

import { attemptRevert, RevertConflicts } from './attempt-revert.js';
import { readQuarantines } from './list-quarantines.js';
import { digestsOf, overriding, quarantinedAmong } from './quarantine.js';
import { requireAdminFor, requireCertificatesFor, type SubjectChange, settingsSubject } from './restore.js';
import { versionNotFound } from './restore-input.js';
import { readVersionChanges } from './version-changes.table.js';

/** So many conflicts are listed; nobody settles more of them one by one. */
const MOST_LISTED = 10_000;

/** What goes back, and what whoever asks may do. */
export interface RevertInput {
  readonly version: number;
  readonly overrideQuarantine: boolean;
  /** Whether settings may be changed: the scope `admin`. */
  readonly mayConfigure: boolean;
  /** Whether certificates may be changed: the scope `certificates`. */
  readonly mayCertify: boolean;
}

/** Undoes one version of a gateway and nothing else, as a new version; refused as a whole (409) where later versions are in the way. */
export class RevertVersion extends Command<Outcome> {
  constructor(
    readonly gateway: string,
    readonly input: RevertInput,
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(RevertVersion)
export class RevertVersionHandler implements ICommandHandler<RevertVersion> {
  constructor(
    private readonly events: EventStore,
    private readonly kinds: SubjectKinds,
    private readonly queries: QueryBus,
    @Inject(DB) private readonly db: Db,
  ) {}

  /**
   * @throws DomainError not_found `gateway_not_found`; invalid `version_not_found`; conflict `gateway_stays`, `revert_conflict`, `state_quarantined`;
   * forbidden `scope_missing`; and as `EventStore.handle`.
   */
  async execute({ gateway, input, request }: RevertVersion): Promise<Outcome> {
    const stream = `gateway/${gateway}`;
    const { version, overrideQuarantine, mayConfigure, mayCertify } = input;
    const changes = await readVersionChanges(this.db, this.kinds, stream, version);
    if (changes.length === 0) await this.refuseUnknown(stream, gateway, version);
    refuseCreation(changes, version);
    const quarantines = await readQuarantines(this.db, gateway);
    const guard = await this.queries.execute(new ReadRouteGuard(gateway, request));
    const { context, ...rest } = request;
    const attempt = () =>
      attemptRevert(
        { db: this.db, events: this.events, kinds: this.kinds },
        {
          version,
          changes,
          request: { ...rest, stream, context: { ...context, action: 'RevertVersion' } },
          review: (events) => {
            requireAdminFor(events, mayConfigure);
            requireCertificatesFor(this.kinds, events, mayCertify);
            return { version, ...overriding(quarantinedAmong(quarantines, digestsOf(events)), overrideQuarantine) };
          },
          guard,
        },
      );
    try {
      return await guard.attempt(attempt);
    } catch (error) {
      throw error instanceof RevertConflicts ? refusal(version, error) : error;
    }
  }

  private async refuseUnknown(stream: string, gateway: string, version: number): Promise<never> {
    const { state } = await readSubject(this.db, stream, settingsSubject);
    if (state === null) throw new DomainError('not_found', 'gateway_not_found', `There is no gateway ${gateway}.`);
    throw versionNotFound('/version', version);
  }
}

function refuseCreation(changes: readonly SubjectChange[], version: number): void {
  if (!changes.some(({ subject, before }) => subject === settingsSubject && before === null)) return;
  const message = `Version ${version} created the gateway, which does not end; there is nothing before it to go back to.`;
  throw new DomainError('conflict', 'gateway_stays', message, { errors: [{ pointer: '/version', code: 'gateway_stays', message }] });
}

function refusal(version: number, { conflicts }: RevertConflicts): DomainError {
  const [first] = conflicts;
  const cut = conflicts.length > MOST_LISTED ? `; the first ${MOST_LISTED} are listed` : '';
  const more = conflicts.length > 1 ? ` (and ${conflicts.length - 1} more, in "conflicts"${cut})` : '';
  return new DomainError('conflict', 'revert_conflict', `Version ${version} cannot be undone as a whole: ${first?.message}${more}`, {
    extra: { conflicts: conflicts.slice(0, MOST_LISTED) },
  });
}
