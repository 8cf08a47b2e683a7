import type { Command } from 'commander';

import { exitStatus } from '../exit-status.js';
import { printable } from '../output/printable.js';
import { table } from '../output/table.js';
import { addApiCommand, overApi, type Session } from '../session.js';

export interface Fault {
  readonly kind: string;
  readonly table?: string | null;
  readonly version?: number | null;
  readonly subject?: string | null;
  readonly from?: number | null;
  readonly to?: number | null;
  readonly message: string;
}

export interface Verification {
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
}

/** Recomputing every hash of a large log takes minutes. */
const VERIFY_TIMEOUT_MS = 15 * 60_000;

interface Flags {
  readonly full: boolean;
}

/** `verify`: is the log what it was? */
export function addVerifyCommand(program: Command): void {
  addApiCommand(program, {
    name: 'verify',
    description: 'recompute the chain of hashes and compare it with the anchors: exit 0 unaltered, 1 altered (and where)',
    examples: ['chancery verify', 'chancery verify --full', 'chancery verify --full -o json | jq .streams'],
  })
    .option('--full', 'from the first record; without it from the last anchor that was checked', false)
    .action(overApi(verify));
}

async function verify(session: Session, flags: Flags): Promise<number> {
  const { body } = await session.api.get<Verification>('/v1/audit/verification', {
    query: { mode: flags.full ? 'full' : 'incremental' },
    timeoutMs: Math.max(VERIFY_TIMEOUT_MS, session.options.requestTimeout),
  });
  await session.out.print(body, () => verificationText(body, session));
  return body.ok ? exitStatus.done : exitStatus.failed;
}

function verificationText(answer: Verification, { out }: Session): string {
  const { colours } = out;
  const { ok, mode, streams, anchors, durationMs } = answer;
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
    ...anchors.faults.map((fault) => faultText('anchors', fault)),
  ].map((line) => `${colours.bad(line)}\n`);
  const verdict = ok ? colours.good('Unaltered') : colours.bad('NOT as it was written');
  const seconds = (durationMs / 1000).toFixed(1);
  return `${rows}${anchorsText(answer)}${faults.join('')}${verdict} (${mode}, ${checked} versions in ${seconds} s).\n`;
}

function anchorsText({ anchors }: Verification): string {
  if (!anchors.configured) return 'No anchors are written: a log that was cut off or rebuilt by its owner would not be noticed.\n';
  return `${printable(`${anchors.count} anchors, the last of ${anchors.lastAt ?? 'never'}`)}\n`;
}

export function faultText(where: string, { kind, table: of, version, subject, from, to, message }: Fault): string {
  const known = (value: unknown) => value !== null && value !== undefined;
  const range = known(from) && known(to) ? ` versions ${from} to ${to}` : known(version) ? ` version ${version}` : '';
  return printable(`${where}:${range}${known(subject) ? ` ${subject}` : ''} ${kind}${known(of) ? ` (${of})` : ''}: ${message}`);
}
