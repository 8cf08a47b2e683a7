import { Command, CommandHandler, type ICommandHandler, QueryBus } from '@nestjs/cqrs';

import { SubjectKinds } from '#features/history/subject-kind.js';
import { MappingBudget } from '#features/mapping/mapping-budget.table.js';
import { ReadRouteGuard } from '#features/mapping/read-route-guard.js';
import { FindQuarantined } from '#features/restore/find-quarantined.js';
import type { CommandRequest } from '#platform/eventstore/command-request.js';
import { EventStore, type Outcome } from '#platform/eventstore/event-store.js';
import { handleOnSnapshot } from '#platform/eventstore/snapshot-command.js';
import { eachInTurns, runInTurns } from '#platform/kernel/turns.js';

import { type ImportOptions, importConfiguration, type WrittenDocument } from './configuration-import.js';
import { type ConcludedSet, explainRefusal } from './working-set.js';

/** An import may write a hundred thousand mappings as one version. In ms. */
const DEADLINE_MS = 60_000;

/** Makes a gateway's configuration that of a document, as one version. */
export class ImportConfiguration extends Command<Outcome> {
  constructor(
    readonly gateway: string,
    readonly document: WrittenDocument,
    readonly options: ImportOptions,
    readonly rules: { readonly mayConfigure: boolean; readonly mayCertify?: boolean; readonly overrideQuarantine: boolean },
    readonly request: CommandRequest,
  ) {
    super();
  }
}

@CommandHandler(ImportConfiguration)
export class ImportConfigurationHandler implements ICommandHandler<ImportConfiguration> {
  constructor(
    private readonly events: EventStore,
    private readonly kinds: SubjectKinds,
    private readonly budget: MappingBudget,
    private readonly queries: QueryBus,
  ) {}

  async execute({ gateway, document, options, rules, request }: ImportConfiguration): Promise<Outcome> {
    const { context, ...rest } = request;
    const { kinds } = this;
    const quarantined = await this.queries.execute(new FindQuarantined(gateway, namedIn(document)));
    const guard = await this.queries.execute(new ReadRouteGuard(gateway, request));
    let set: ConcludedSet | undefined;
    try {
      return await handleOnSnapshot(
        this.events,
        { ...rest, deadlineMs: DEADLINE_MS, stream: `gateway/${gateway}`, context: { ...context, action: 'ImportConfiguration' } },
        async (snapshot) => {
          const { subjects } = snapshot;
          // The append is pinned to this very snapshot, so what is counted in it is exact.
          let room = this.budget.limit;
          await eachInTurns(subjects.keys(), (subject) => {
            if (subject.startsWith('mapping/')) room -= 1;
          });
          const decided = await runInTurns(importConfiguration(document, options, { ...rules, kinds, quarantined, room }, subjects));
          set = decided;
          return guard.reviewedSnapshot(decided, snapshot);
        },
      );
    } catch (error) {
      throw explainRefusal(error, set, kinds);
    } finally {
      this.budget.forget(gateway);
    }
  }
}

function* namedIn({ sections }: WrittenDocument): Iterable<{ readonly subject: string }> {
  for (const { kind, values } of sections) {
    for (const { value } of values)
      yield { subject: kind.isNamed ? `${kind.name}/${String((value as { name?: unknown } | null)?.name)}` : kind.name };
  }
}
