import { userInfo } from 'node:os';
import { type Command, InvalidArgumentError } from 'commander';

import { addGroup } from './session.js';
import { UsageError } from './usage-error.js';
import { databaseUrl, withDatabase } from './with-database.js';

/** `migrate`, `recover` and `projector rebuild`: what is done to the database itself, by whoever runs it. */
export function addDatabaseCommands(program: Command): void {
  program
    .command('migrate')
    .description('bring the database to the schema of this release (run as the role that owns the tables)')
    .addHelpText('after', '\nExamples:\n  CHANCERY_OWNER_DATABASE_URL=postgresql://chancery_owner@db/chancery chancery migrate')
    .action(migrateDatabase);
  program
    .command('recover')
    .description(
      'after the database was restored to the past: declare it right, so that targets which moved beyond it are written to again',
    )
    .requiredOption('--reason <text>', 'why; it is recorded')
    .option('--at-least <lineage>', 'a lineage that a target was seen in, when it is ahead of this database', lineageNumber)
    .addHelpText('after', '\nExamples:\n  chancery recover --reason "restored from the backup of 03:00"')
    .action(recover);
  const projector = addGroup(program, {
    name: 'projector',
    description: 'the projected tables',
    examples: ['chancery projector rebuild --gateway default'],
  });
  projector
    .command('rebuild')
    .description(
      'forget the route table of a gateway, or the audit trail; the projector makes it again from the first event, and the API says how far it is',
    )
    .option('--gateway <name>', 'whose route table; those of all gateways without it')
    .option('--audit', 'the audit trail, and no route table; positions and cursors that clients hold are void then', false)
    .addHelpText('after', '\nExamples:\n  chancery projector rebuild --gateway default\n  chancery projector rebuild --audit')
    .action(rebuild);
}

async function migrateDatabase(): Promise<void> {
  const { migrate } = await import('#platform/database/migrator.js');
  const { applied } = await migrate(databaseUrl());
  process.stdout.write(applied.length === 0 ? 'nothing to do\n' : `applied ${applied.join(', ')}\n`);
}

async function recover(flags: { reason: string; atLeast?: number }): Promise<void> {
  const { recoverLineage } = await import('#features/rollout/lineage.table.js');
  const { lineage } = await withDatabase((database) =>
    recoverLineage(database.db, {
      reason: flags.reason,
      actor: `cli/${userInfo().username}`,
      ...(flags.atLeast === undefined ? {} : { atLeast: flags.atLeast }),
    }),
  );
  process.stdout.write(`this database is right from now on: lineage ${lineage}\n`);
}

async function rebuild(flags: { gateway?: string; audit: boolean }): Promise<void> {
  if (!flags.audit) return rebuildRoutes(flags);
  if (flags.gateway !== undefined) throw new UsageError('The audit trail is one for all gateways: --audit goes without --gateway.');
  const { resetAudit } = await import('#features/audit/audit.projection.js');
  const { generation } = await withDatabase((database) => database.db.transaction().execute((tx) => resetAudit(tx)));
  process.stdout.write(`reset: the audit trail, generation ${generation} from now on. The projector makes it again.\n`);
}

async function rebuildRoutes(flags: { gateway?: string }): Promise<void> {
  const { readRouteProjections, resetRoutes } = await import('#features/mapping/mapping.projection.js');
  await withDatabase(async (database) => {
    const gateways = (await readRouteProjections(database.db, flags.gateway)).map(({ gateway }) => gateway);
    if (gateways.length === 0)
      throw new Error(
        flags.gateway === undefined ? 'there is no route table yet' : `there is no route table of a gateway ${flags.gateway}`,
      );
    for (const gateway of gateways) await database.db.transaction().execute((tx) => resetRoutes(tx, gateway));
    process.stdout.write(`reset: ${gateways.join(', ')}. The projector folds them again.\n`);
  });
}

function lineageNumber(text: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text)) throw new InvalidArgumentError('It must be a whole number from 1.');
  return Number(text);
}
