import type { Command } from 'commander';

import { type AnchorCheck, compareAnchors, readAnchors } from '../anchor-check.js';
import { exitStatus } from '../exit-status.js';
import { warningsText } from '../output/changes.js';
import { printable } from '../output/printable.js';
import { table } from '../output/table.js';
import { addApiCommand, overApi, type Session } from '../session.js';
import { UsageError } from '../usage-error.js';

interface Fault {
  readonly kind: string;
  readonly table?: string | null;
  readonly version?: number | null;
  readonly subject?: string | null;
  readonly from?: number | null;
  readonly to?: number | null;
  readonly stream?: string | null;
  readonly line?: number | null;
  readonly message: string;
}

interface Verification {
  readonly ok: boolean;
  readonly mode: string;
  readonly checkedAt: string;
  readonly durationMs: number;
  readonly streams: readonly {
    readonly stream: string;
    readonly version: number;
    readonly hash: string;
    readonly ok: boolean;
    readonly checked: number;
    readonly fault: Fault | null;
  }[];
  readonly anchors: {
    readonly configured: boolean;
    readonly ok: boolean;
    readonly count: number;
    readonly lastAt: string | null;
    readonly faults: readonly Fault[];
  };
  readonly warnings?: readonly { readonly code: string; readonly message: string; readonly pointer: string }[];
}

/** Recomputing every hash of a large log takes minutes. */
const VERIFY_TIMEOUT_MS = 15 * 60_000;

interface Flags {
  readonly full: boolean;
  readonly anchors?: string;
  readonly publicKey?: string;
}

/** `verify`: is the log what it was? */
export function addVerifyCommand(program: Command): void {
  addApiCommand(program, {
    name: 'verify',
    description: 'recompute the chain of hashes and compare it with the anchors: exit 0 unaltered, 1 altered (and where)',
    examples: [
      'chancery verify',
      'chancery verify --full',
      'chancery verify --full --anchors copy-of-anchors.jsonl --public-key anchor-key.pem.pub',
      'chancery verify -o json | jq .streams',
    ],
  })
    .option('--full', 'from the first record, and every anchor; without it what is new, and the newest anchor of each stream', false)
    .option('--anchors <file>', 'also check this copy of the anchor file, here, and the log against it (scope read)')
    .option('--public-key <file>', 'the public half of the key that the anchors are signed with')
    .action(overApi(verify));
}

async function verify(session: Session, flags: Flags): Promise<number> {
  const { anchors: file, publicKey } = flags;
  if ((file === undefined) !== (publicKey === undefined)) throw new UsageError('--anchors and --public-key go together.');
  // The copy is read first: what it names must be in what is asked for afterwards.
  const copy = file === undefined || publicKey === undefined ? undefined : await readAnchors(file, publicKey);
  const { full } = flags;
  let answer = await ask(session, full);
  if (copy === undefined) return tell(session, answer, undefined);
  let check = await compareAnchors(session.api, copy, answer.streams, full);
  if (!check.ok) {
    // The first answer may be of a verification that somebody else had begun before the copy was read.
    answer = await ask(session, full);
    check = await compareAnchors(session.api, copy, answer.streams, full);
  }
  return tell(session, answer, check);
}

async function ask(session: Session, full: boolean): Promise<Verification> {
  const { body } = await session.api.get<Verification>('/v1/audit/verification', {
    query: { mode: full ? 'full' : 'incremental' },
    timeoutMs: Math.max(VERIFY_TIMEOUT_MS, session.options.requestTimeout),
  });
  return body;
}

async function tell(session: Session, answer: Verification, copy: AnchorCheck | undefined): Promise<number> {
  const ok = answer.ok && copy?.ok !== false;
  await session.out.print(copy === undefined ? answer : { ...answer, ok, copyOfAnchors: copy }, () =>
    verificationText(answer, copy, session),
  );
  return ok ? exitStatus.done : exitStatus.failed;
}

function verificationText(answer: Verification, copy: AnchorCheck | undefined, { out }: Session): string {
  const { colours } = out;
  const { mode, streams, anchors, durationMs } = answer;
  const ok = answer.ok && copy?.ok !== false;
  const checked = streams.reduce((sum, stream) => sum + stream.checked, 0);
  const rows = table(
    streams,
    [
      { title: 'STREAM', text: (one) => one.stream },
      { title: 'VERSION', text: (one) => one.version, align: 'right' },
      { title: 'CHECKED', text: (one) => one.checked, align: 'right' },
      { title: 'HASH', text: (one) => one.hash },
      {
        title: 'RESULT',
        text: (one) => (one.ok ? 'ok' : 'ALTERED'),
        paint: (text, one) => (one.ok ? colours.good(text) : colours.bad(text)),
      },
    ],
    colours.faint,
  );
  const faults = [
    ...streams.flatMap(({ stream, fault }) => (fault === null ? [] : [faultText(stream, fault)])),
    ...anchors.faults.map((fault) => faultText(`anchors${placeOf(fault)}`, fault)),
    ...(copy?.faults ?? []).map((fault) => faultText(`${copy?.file}${placeOf(fault)}`, fault)),
  ].map((line) => `${colours.bad(line)}\n`);
  const verdict = ok ? colours.good('Unaltered') : colours.bad('NOT as it was written');
  const seconds = (durationMs / 1000).toFixed(1);
  const warnings = warningsText(answer.warnings ?? [], colours);
  return `${rows}${anchorsText(answer)}${copyText(copy)}${warnings}${faults.join('')}${verdict} (${mode}, ${checked} versions in ${seconds} s).\n`;
}

function anchorsText({ anchors }: Verification): string {
  if (!anchors.configured)
    return 'The API knows of no anchors: by itself it would not notice a log that was cut off or rebuilt by its owner.\n';
  return printable(`The API's anchors: ${anchors.count}, the last of ${anchors.lastAt ?? 'never'}.`).concat('\n');
}

function copyText(copy: AnchorCheck | undefined): string {
  if (copy === undefined) return '';
  const passed =
    copy.passed === 0 ? '' : `; ${copy.passed} heads are of streams that have moved on, of which the API shows the newest version only`;
  return printable(
    `${copy.file}: ${copy.count} anchors, the last of ${copy.lastAt ?? 'never'}, ${copy.compared} heads compared${passed}.`,
  ).concat('\n');
}

function placeOf({ stream, line }: Fault): string {
  return `${line ? ` line ${line}` : ''}${stream ? ` ${stream}` : ''}`;
}

function faultText(where: string, { kind, table: of, version, subject, from, to, message }: Fault): string {
  const known = (value: unknown) => value !== null && value !== undefined;
  const range = known(from) && known(to) && from !== to ? ` versions ${from} to ${to}` : known(version) ? ` version ${version}` : '';
  return printable(`${where}:${range}${known(subject) ? ` ${subject}` : ''} ${kind}${known(of) ? ` (${of})` : ''}: ${message}`);
}
