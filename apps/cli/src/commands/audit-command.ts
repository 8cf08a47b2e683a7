import { setTimeout as pause } from 'node:timers/promises';
import { type Command, Option } from 'commander';

import { eventsOf, linesOf, textOf, writeTo } from '../answer-stream.js';
import type { QueryValue } from '../api-client.js';
import { CommandFailure, exitStatus } from '../exit-status.js';
import { count, moment, versionOrZero } from '../option-values.js';
import { paintState } from '../output/colours.js';
import { printable, printableJson } from '../output/printable.js';
import { type Column, table } from '../output/table.js';
import { readPages } from '../pages.js';
import { ApiRefusal } from '../problem-report.js';
import { addApiCommand, overApi, type Session } from '../session.js';
import { UsageError } from '../usage-error.js';

const PATH = '/v1/audit';

interface AuditRecord {
  readonly position: number;
  readonly at: string;
  readonly category: string;
  readonly gateway: string | null;
  readonly version: number;
  readonly action: string;
  readonly actor: string;
  readonly subjects: readonly string[];
  readonly subjectCount: number;
  readonly result: string;
  readonly code: string | null;
  readonly reason: string | null;
  readonly count: number;
}

interface Flags {
  readonly actor?: string;
  readonly action?: string;
  readonly subject?: string;
  readonly result?: string;
  readonly category?: string;
  readonly code?: string;
  readonly since?: string;
  readonly until?: string;
  readonly text?: string;
  readonly limit?: number;
  readonly follow: boolean;
  readonly export?: 'ndjson' | 'csv';
  readonly after?: number;
}

/** `audit`: the one trail over everything that was done or refused. */
export function addAuditCommand(program: Command): void {
  addApiCommand(program, {
    name: 'audit',
    description: 'the audit trail: changes, deployments, access, and what was refused; of all gateways unless --gateway names one',
    examples: [
      'chancery audit --since 24h',
      'chancery audit --category refusal --actor token/0123456789abcdef',
      'chancery audit --follow --gateway default',
      'chancery audit --export ndjson > audit.ndjson',
      'chancery audit --export csv --since 2026-01-01 --until 2026-04-01 > first-quarter.csv',
    ],
  })
    .option('--actor <actor>', 'only by this one')
    .option('--action <action>', 'only this, such as UpdateMapping')
    .option('--subject <subject>', 'only what touches it, such as mapping/user')
    .option('--result <result>', 'only with this result, such as accepted or refused')
    .option('--category <category>', 'configuration, rollout, deployment, access or refusal')
    .option('--code <code>', 'only with this code, such as version_mismatch')
    .option('--since <time>', 'only from this time on, or this long ago (2h, 7d)', moment)
    .option('--until <time>', 'only before this time', moment)
    .option('--text <words>', 'only with these words')
    .option('--limit <n>', 'how many at most (default 50; with --follow, how many to begin with: 10)', count)
    .option('--follow', 'go on with what happens, until Ctrl-C', false)
    .addOption(new Option('--export <format>', 'all of it as it is kept, oldest first').choices(['ndjson', 'csv']))
    .option('--after <position>', 'with --export or --follow: only what comes after this position', versionOrZero)
    .action(overApi(audit));
}

async function audit(session: Session, flags: Flags): Promise<undefined> {
  if (flags.follow && flags.export !== undefined) throw new UsageError('--follow and --export do not go together.');
  if (flags.after !== undefined && !flags.follow && flags.export === undefined)
    throw new UsageError('--after goes with --export or --follow.');
  if (flags.export !== undefined) return exportTrail(session, flags, flags.export);
  if (flags.follow) return follow(session, flags);
  const { out, api } = session;
  let lag = 0;
  const onAnswer = (headers: Headers) => {
    lag = Number(headers.get('chancery-audit-lag') ?? 0);
  };
  const page = await readPages<AuditRecord>(api, PATH, { query: filters(session, flags), limit: flags.limit ?? 50, onAnswer });
  await out.print(page, () => (page.items.length === 0 ? 'No record fits.\n' : table(page.items, columns(session), out.colours.faint)));
  if (lag > 0) out.note(`The trail is ${lag} versions behind the log: what was done a moment ago may not be in it yet.`);
  if (page.next !== null) out.note('There are older ones: a higher --limit shows more, --export gives all of it.');
  return undefined;
}

function filters(session: Session, flags: Flags): Record<string, QueryValue> {
  const { actor, action, subject, result, category, code, since, until, text } = flags;
  const gateway = session.gatewayGiven ? session.gateway : undefined;
  return { actor, action, subject, result, category, code, since, until, q: text, gateway };
}

function columns({ out }: Session): Column<AuditRecord>[] {
  return [
    { title: 'POSITION', text: (one) => one.position, align: 'right' },
    { title: 'TIME', text: (one) => one.at },
    { title: 'RESULT', text: resultOf, paint: (text, one) => paintState(out.colours, one.result) + text.slice(one.result.length) },
    { title: 'ACTION', text: (one) => one.action },
    { title: 'SUBJECTS', text: subjectsOf },
    { title: 'GATEWAY', text: (one) => one.gateway },
    { title: 'ACTOR', text: (one) => one.actor },
    { title: 'REASON', text: (one) => one.reason },
  ];
}

function resultOf({ result, code, count: times }: AuditRecord): string {
  return `${result}${code ? ` ${code}` : ''}${times > 1 ? ` ×${times}` : ''}`;
}

const MOST_SUBJECTS = 3;

function subjectsOf({ subjects, subjectCount }: AuditRecord): string {
  const more = subjectCount > MOST_SUBJECTS ? ` and ${subjectCount - MOST_SUBJECTS} more` : '';
  return subjects.slice(0, MOST_SUBJECTS).join(', ') + more;
}

const RECONNECT_MS = 1_000;
const FIRST_RECORDS = 10;

/** Shows the newest records, then each as it comes. A stream that breaks is taken up where it was: the event's id is the record's position. */
async function follow(session: Session, flags: Flags): Promise<undefined> {
  const query = filters(session, flags);
  const show = (record: AuditRecord) => writeTo(process.stdout, recordLine(session, record));
  let last = flags.after;
  if (last === undefined) {
    const { items } = await readPages<AuditRecord>(session.api, PATH, { query, limit: flags.limit ?? FIRST_RECORDS });
    for (const record of items.toReversed()) await show(record);
    last = items[0]?.position ?? (await newestPosition(session));
  }
  const ended = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ended.abort());
  while (!ended.signal.aborted) {
    const connection = new AbortController();
    try {
      const request = { query, accept: 'text/event-stream', headers: { 'last-event-id': String(last) } };
      const response = await session.api.open(PATH, request, AbortSignal.any([ended.signal, connection.signal]));
      for await (const { id, data } of eventsOf(linesOf(textOf(response, connection)))) {
        await show(JSON.parse(data) as AuditRecord);
        last = Number(id);
      }
    } catch (error) {
      if (error instanceof ApiRefusal && error.httpStatus < 500) throw error;
      if (!ended.signal.aborted) session.out.note('The stream broke off; it is taken up again where it was.');
    }
    await pause(RECONNECT_MS, undefined, { signal: ended.signal }).catch(() => undefined);
  }
  return undefined;
}

async function newestPosition({ api }: Session): Promise<number> {
  const { body } = await api.get<{ items: AuditRecord[] }>(PATH, { query: { limit: 1 } });
  return body.items[0]?.position ?? 0;
}

/** One record on one line: JSON with -o json, and with -o yaml, which JSON is too; else for people. */
function recordLine({ out }: Session, record: AuditRecord): string {
  if (out.format !== 'table') return `${printableJson(JSON.stringify(record))}\n`;
  const { result } = record;
  const said = resultOf(record).slice(result.length);
  const what = `${record.action} ${subjectsOf(record)} by ${record.actor}${record.gateway ? ` on ${record.gateway}` : ''}`;
  return `${out.colours.faint(printable(record.at))}  ${paintState(out.colours, printable(result))}${printable(`${said}  ${what}${record.reason ? `: ${record.reason}` : ''}`)}\n`;
}

/** In a row, a second apart: an API that is started anew is back by then. */
const MOST_ATTEMPTS = 15;

/** The whole trail on stdout. NDJSON that breaks off is taken up after the last whole line; of CSV the caller is told how. */
async function exportTrail(session: Session, flags: Flags, format: 'ndjson' | 'csv'): Promise<undefined> {
  const accept = format === 'csv' ? 'text/csv' : 'application/x-ndjson';
  const done = { last: flags.after, lines: 0 };
  for (let attempt = 1; ; attempt++) {
    const began = done.lines;
    const limit = flags.limit === undefined ? undefined : flags.limit - done.lines;
    const connection = new AbortController();
    try {
      const query = { ...filters(session, flags), limit, after: done.last };
      const pieces = textOf(await session.api.open(PATH, { query, accept }, connection.signal), connection);
      if (format === 'csv') for await (const piece of pieces) await writeTo(process.stdout, piece);
      else await writeLines(pieces, done);
      return undefined;
    } catch (error) {
      if (error instanceof ApiRefusal && error.httpStatus < 500) throw error;
      if (error instanceof CommandFailure && done.lines === 0) throw error; // it never began
      if (done.lines > began) attempt = 0;
      if (format === 'csv' || attempt === MOST_ATTEMPTS) throw brokenOff(done.last, error);
      await pause(RECONNECT_MS);
    }
  }
}

/** Whole lines only, so that what is on stdout can be gone on from; `done` is kept as far as they go. */
async function writeLines(pieces: AsyncIterable<string>, done: { last: number | undefined; lines: number }): Promise<void> {
  for await (const line of linesOf(pieces)) {
    await writeTo(process.stdout, `${line}\n`);
    done.last = (JSON.parse(line) as AuditRecord).position;
    done.lines += 1;
  }
}

function brokenOff(last: number | undefined, cause: unknown): CommandFailure {
  const after = last === undefined ? 'the position of the last whole record' : String(last);
  return new CommandFailure(
    'The export broke off.',
    exitStatus.failed,
    `What was written is whole up to there; --after ${after} goes on.`,
    { cause },
  );
}
