import { setImmediate as nextTurn } from 'node:timers/promises';

import { Inject } from '@nestjs/common';
import { Command, CommandHandler, type ICommandHandler, QueryBus } from '@nestjs/cqrs';

import { SubjectKinds } from '#features/history/subject-kind.js';
import { MappingBudget } from '#features/mapping/mapping-budget.table.js';
import { ReadRouteGuard } from '#features/mapping/read-route-guard.js';
import { FindQuarantined } from '#features/restore/find-quarantined.js';
import type { Db } from '#platform/database/database.js';
import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';
import { readSubject } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';
import { DomainError } from '#platform/kernel/errors.js';

import { applyChangeset, subjectsOf, type WrittenChange } from './changeset.js';
import { PreparedValues } from './prepared-values.js';
import { type ConcludedSet, explainRefusal, runInTurns } from './working-set.js';

/** From so many changes on a set may take longer than other commands, in ms: it writes more than they do. */
const MANY = { changes: 500, deadlineMs: 30_000 } as const;

/** Carries out many changes as one version, or none of them. */
export class ApplyChangeset extends Command<Outcome> {
  constructor(
    readonly gateway: string,
    readonly changes: readonly WrittenChange[],
    readonly rules: { readonly mayConfigure: boolean; readonly mayCertify?: boolean; readonly overrideQuarantine: boolean },
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(ApplyChangeset)
export class ApplyChangesetHandler implements ICommandHandler<ApplyChangeset> {
  constructor(
    private readonly events: EventStore,
    private readonly kinds: SubjectKinds,
    private readonly budget: MappingBudget,
    private readonly queries: QueryBus,
    @Inject(DB) private readonly db: Db,
  ) {}

  async execute({ gateway, changes, rules, request }: ApplyChangeset): Promise<Outcome> {
    const { context, ...rest } = request;
    const { kinds } = this;
    const subjects = subjectsOf(changes, kinds);
    const quarantined = await this.queries.execute(
      new FindQuarantined(
        gateway,
        subjects.map((subject) => ({ subject })),
      ),
    );
    const guard = await this.queries.execute(new ReadRouteGuard(gateway, request));
    const prepared = changes.length < MANY.changes ? undefined : await this.prepare(gateway, changes);
    const most = countPuts(changes);
    const place = most === 0 ? undefined : await this.budget.take(gateway, most);
    let set: ConcludedSet | undefined;
    try {
      return await guard.handle(
        this.events,
        {
          ...rest,
          ...(changes.length < MANY.changes ? {} : { deadlineMs: MANY.deadlineMs }),
          stream: `gateway/${gateway}`,
          subjects,
          context: { ...context, action: 'ApplyChangeset' },
        },
        (view) => {
          const room = place?.room ?? Number.POSITIVE_INFINITY;
          const decided = applyChangeset(changes, { ...rules, kinds, quarantined, room }, prepared)(view);
          set = decided;
          return decided;
        },
      );
    } catch (error) {
      throw explainRefusal(error, set, kinds);
    } finally {
      place?.release();
    }
  }

  /** Does most of a large set's work where it holds up nobody. */
  private async prepare(gateway: string, changes: readonly WrittenChange[]): Promise<PreparedValues | undefined> {
    const { state, schemaVersion } = await readSubject(this.db, `gateway/${gateway}`, 'gateway');
    const settings = state === null ? undefined : this.kinds.of('gateway')?.upcast(state, schemaVersion);
    if (settings === undefined) return undefined;
    const prepared = new PreparedValues(settings);
    await runInTurns(prepared.prepare(changes, this.kinds, settings), nextTurn);
    return prepared;
  }
}

/** How many mappings the set creates at most. */
function countPuts(changes: readonly WrittenChange[]): number {
  const put = new Set<string>();
  for (const change of changes)
    if (!(change instanceof DomainError) && change.op === 'put' && change.subject.startsWith('mapping/')) put.add(change.subject);
  return put.size;
}
