import type { Command } from 'commander';

import type { Json } from '#platform/kernel/json.js';

import { gatewayPath } from '../api-client.js';
import { exitStatus } from '../exit-status.js';
import { count, moment, type VersionRange, version, versionRange } from '../option-values.js';
import { type Change, changesText, countChanges } from '../output/changes.js';
import { paintState } from '../output/colours.js';
import { type Rendered, renderedText } from '../output/rendered.js';
import { facts, table } from '../output/table.js';
import { readPages } from '../pages.js';
import { addApiCommand, overApi, type Session } from '../session.js';

interface VersionRecord {
  readonly version: number;
  readonly action: string;
  readonly actor: string;
  readonly reason: string | null;
  readonly recordedAt: string;
  readonly eventCount: number;
  readonly hash: string;
  readonly parentHash: string;
  readonly commandId: string;
  readonly requestId: string | null;
  readonly details?: Json;
  readonly confirmation?: { readonly deadline: string; readonly state: string } | null;
}

interface HistoryFlags {
  readonly limit: number;
  readonly actor?: string;
  readonly action?: string;
  readonly subject?: string;
  readonly since?: string;
  readonly until?: string;
}

/** `history`, `show`, `diff`: what was done, one version of it, and what differs between two. */
export function addHistoryCommands(program: Command): void {
  addApiCommand(program, {
    name: 'history',
    description: 'the versions of a gateway, newest first: who changed what, when and why',
    examples: [
      'chancery history',
      'chancery history --subject mapping/user --since 7d',
      'chancery history --actor token/0123456789abcdef --limit 5 -o json',
    ],
  })
    .option('--limit <n>', 'how many at most', count, 20)
    .option('--actor <actor>', 'only by this one, such as token/0123456789abcdef')
    .option('--action <action>', 'only this, such as UpdateMapping')
    .option('--subject <subject>', 'only versions that touch it, such as mapping/user')
    .option('--since <time>', 'only from this time on (2026-11-25T03:00:00Z), or this long ago (2h, 7d)', moment)
    .option('--until <time>', 'only before this time', moment)
    .action(overApi(history));
  addApiCommand(program, {
    name: 'show',
    description: 'one version: its record, and every change in it with before and after',
    examples: ['chancery show 12', 'chancery show 12 -o json'],
  })
    .argument('<version>', 'its number', version)
    .action(overApi(show));
  addApiCommand(program, {
    name: 'diff',
    description: 'what differs between two versions; with one, what that version changed',
    examples: ['chancery diff 12', 'chancery diff 7..12', 'chancery diff 7.. --exit-code', 'chancery diff 7..12 --rendered'],
  })
    .argument('<versions>', 'A..B, A.. (to the newest), or N; 0 is the empty configuration before the first', versionRange)
    .option('--rendered', "also what differs in Envoy's configuration", false)
    .option('--exit-code', 'exit with 1 when there is a difference', false)
    .action(overApi(diff));
}

async function history({ api, gateway, out }: Session, flags: HistoryFlags): Promise<undefined> {
  const { limit, ...query } = flags;
  const page = await readPages<VersionRecord>(api, gatewayPath(gateway, 'versions'), { query: { ...query }, limit });
  const { faint } = out.colours;
  await out.print(page, () =>
    page.items.length === 0
      ? 'No version fits.\n'
      : table(
          page.items,
          [
            { title: 'VERSION', text: (one) => one.version, align: 'right' },
            { title: 'TIME', text: (one) => one.recordedAt },
            { title: 'ACTION', text: (one) => one.action },
            { title: 'CHANGES', text: (one) => one.eventCount, align: 'right' },
            { title: 'ACTOR', text: (one) => one.actor },
            {
              title: 'CONFIRM',
              text: (one) => one.confirmation?.state,
              paint: (text) => paintState(out.colours, text),
            },
            { title: 'REASON', text: (one) => one.reason },
          ],
          faint,
        ),
  );
  if (page.next !== null) out.note(`There are older ones: --limit ${limit * 5} shows more.`);
  return undefined;
}

async function show({ api, gateway, out }: Session, number: number): Promise<undefined> {
  type Shown = VersionRecord & { events: (Change & { type: string; subjectVersion: number; state: Json })[] };
  const { body } = await api.get<Shown>(gatewayPath(gateway, 'versions', number));
  const { confirmation } = body;
  await out.print(body, () => {
    const record = facts([
      ['version', body.version],
      ['action', body.action],
      ['actor', body.actor],
      ['reason', body.reason],
      ['recorded', body.recordedAt],
      ['confirmation', confirmation ? `${confirmation.state} (deadline ${confirmation.deadline})` : null],
      ['details', detailsText(body.details)],
      ['request', body.requestId],
      ['command', body.commandId],
      ['hash', body.hash],
      ['parent', body.parentHash],
    ]);
    const changes = body.events.map((event) => ({ subject: event.subject, before: event.before ?? null, after: event.state }));
    return `${record}\n${changesText(changes, out.colours)}`;
  });
  return undefined;
}

function detailsText(details: Json | undefined): string | null {
  const empty = details === undefined || details === null || (typeof details === 'object' && Object.keys(details).length === 0);
  return empty ? null : JSON.stringify(details);
}

async function diff({ api, gateway, out }: Session, range: VersionRange, flags: { rendered: boolean; exitCode: boolean }): Promise<number> {
  const to = range.to ?? (await newestVersion({ api, gateway }));
  const query = { against: range.from, ...(flags.rendered ? { rendered: true } : {}) };
  const { body } = await api.get<{ from: number; to: number; changes: Change[]; rendered?: Rendered | null }>(
    gatewayPath(gateway, 'versions', to, 'diff'),
    { query },
  );
  await out.print(body, () => {
    const rendered = !body.rendered ? '' : renderedText(body.rendered, out.colours);
    return `${out.colours.faint(`version ${range.from} → ${to}: ${countChanges(body.changes)}`)}\n${changesText(body.changes, out.colours)}${rendered}`;
  });
  return flags.exitCode && body.changes.length > 0 ? exitStatus.difference : exitStatus.done;
}

/** The number of the newest version of a gateway. */
export async function newestVersion({ api, gateway }: Pick<Session, 'api' | 'gateway'>): Promise<number> {
  const { body } = await api.get<{ version: number }>(gatewayPath(gateway));
  return body.version;
}
