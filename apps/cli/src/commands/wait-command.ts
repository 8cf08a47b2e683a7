import { setTimeout as pause } from 'node:timers/promises';
import type { Command } from 'commander';

import { gatewayPath } from '../api-client.js';
import { CommandFailure, exitStatus } from '../exit-status.js';
import { duration, version } from '../option-values.js';
import { paintState } from '../output/colours.js';
import { printable } from '../output/printable.js';
import { table } from '../output/table.js';
import { ApiRefusal } from '../problem-report.js';
import { addApiCommand, overApi, type Session } from '../session.js';
import { newestVersion } from './history-commands.js';

interface TargetState {
  readonly name: string;
  readonly state: string;
  readonly desiredVersion: number;
  readonly appliedVersion: number;
  readonly provenVersion: number;
  readonly supersededBy: number | null;
  readonly reason: { readonly code: string; readonly message: string } | null;
  readonly mappings: readonly { readonly name: string; readonly code: string; readonly message: string }[];
}

interface Propagation {
  readonly version: number;
  readonly state: 'live' | 'pending' | 'refused' | 'no_targets';
  readonly satisfied: boolean;
  readonly targets: readonly TargetState[];
}

const LONGEST_POLL_S = 30;
const SHORTEST_ROUND_MS = 250;
const OUTAGE_PAUSE_MS = 1_000;

/** `wait`: until a version is proven live on every target. */
export function addWaitCommand(program: Command): void {
  addApiCommand(program, {
    name: 'wait',
    description: 'wait until a version is proven live on every target: exit 0 live, 3 not in time, 4 refused by a target',
    examples: ['chancery wait --version 12', 'chancery wait --version 12 --timeout 5m', 'chancery wait --timeout 90s -o json'],
  })
    .option('--version <n>', 'which one; the newest without it', version)
    .option('--timeout <time>', 'how long to wait', duration, 60_000)
    .action(overApi(wait));
}

async function wait(session: Session, flags: { version?: number; timeout: number }): Promise<number> {
  const deadline = performance.now() + flags.timeout;
  const number = flags.version ?? (await newestVersion(session));
  const last = await poll(session, number, deadline);
  await session.out.print(last, () => propagationText(last, session));
  if (last.satisfied) return exitStatus.done;
  if (last.state === 'refused') {
    session.out.note(`Version ${number} was refused. ${refusals(last)}`);
    return exitStatus.refused;
  }
  session.out.note(`Version ${number} is not live after ${flags.timeout / 1000} s. ${standing(last)}`);
  return exitStatus.timeout;
}

/** Asks until the version is satisfied or refused, or the time is over; the API answers as soon as something moves. An outage in between is waited out. */
async function poll(session: Session, number: number, deadline: number): Promise<Propagation> {
  let last: Propagation | undefined;
  for (;;) {
    const began = performance.now();
    const left = deadline - began;
    if (last !== undefined && left <= 0) return last;
    const seconds = Math.min(LONGEST_POLL_S, Math.floor(left / 1000));
    try {
      const answer = await read(session, number, last === undefined ? 0 : seconds);
      if (answer.satisfied || answer.state === 'refused') return answer;
      if (last === undefined || standing(last) !== standing(answer)) session.out.note(standing(answer));
      last = answer;
    } catch (error) {
      if (last === undefined || !isOutage(error)) throw error;
      await pause(Math.min(OUTAGE_PAUSE_MS, Math.max(0, deadline - performance.now())));
    }
    const rest = Math.min(SHORTEST_ROUND_MS - (performance.now() - began), deadline - performance.now());
    if (rest > 0) await pause(rest);
  }
}

async function read({ api, gateway, options }: Session, number: number, seconds: number): Promise<Propagation> {
  const { body } = await api.get<Propagation>(gatewayPath(gateway, 'versions', number, 'propagation'), {
    query: { wait: seconds < 1 ? undefined : `${seconds}s` },
    timeoutMs: options.requestTimeout + seconds * 1000,
  });
  return body;
}

function isOutage(error: unknown): boolean {
  return error instanceof ApiRefusal ? error.httpStatus >= 500 : error instanceof CommandFailure;
}

/** Where it stands, in one line. */
function standing({ state, targets }: Propagation): string {
  if (state === 'no_targets') return 'This gateway has no target (no Envoy): nothing can make it live.';
  return `${targets.map((target) => printable(`${target.name}: ${target.state} (proven ${target.provenVersion})`)).join(', ')}.`;
}

function refusals({ targets }: Propagation): string {
  const refused = targets.filter(({ state }) => state === 'refused');
  const lines = refused.flatMap(({ name, reason, mappings }) => [
    `\n  ${name}: ${reason?.message ?? 'no reason was given'}${reason ? ` (${reason.code})` : ''}`,
    ...mappings.map((mapping) => `\n    mapping ${mapping.name}: ${mapping.message} (${mapping.code})`),
  ]);
  return lines.map((line) => `\n${printable(line.slice(1))}`).join('');
}

export function propagationText({ version: number, state, targets }: Propagation, { out }: Session): string {
  const head = `version ${number}: ${paintState(out.colours, printable(state))}\n`;
  if (targets.length === 0) return head;
  const rows = table(
    targets,
    [
      { title: 'TARGET', text: (one) => one.name },
      { title: 'STATE', text: (one) => one.state, paint: (text) => paintState(out.colours, text) },
      { title: 'DESIRED', text: (one) => one.desiredVersion, align: 'right' },
      { title: 'APPLIED', text: (one) => one.appliedVersion, align: 'right' },
      { title: 'PROVEN', text: (one) => one.provenVersion, align: 'right' },
      { title: 'BECAUSE', text: because },
    ],
    out.colours.faint,
  );
  const set = targets.flatMap(({ name, mappings }) => mappings.map((mapping) => ({ target: name, ...mapping })));
  const aside = set.map(({ target, name, code, message }) => `${printable(`${target}: mapping ${name}: ${message} (${code})`)}\n`).join('');
  return `${head}${rows}${aside}`;
}

function because({ supersededBy, reason }: TargetState): string | null {
  if (supersededBy !== null && supersededBy !== undefined) return `superseded by version ${supersededBy}`;
  return reason === null ? null : `${reason.message} (${reason.code})`;
}
