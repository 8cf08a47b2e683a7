import type pg from 'pg';

import type { AppendResult, DecidedCommand, DecidedEvent } from './command.js';

/** A batch becomes one statement: 64 commands or 1 MB, whichever comes first. More gains nothing (the commit is shared already) and delays the first. */
export const BATCH_LIMITS = { commands: 64, bytes: 1_000_000 } as const;

const APPEND = `SELECT base_version, recorded_at, refusals FROM chancery.append(
  $1, $2, $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[], $11::text[], $12::bigint[],
  $13::int[], $14::text[], $15::bigint[], $16::boolean[],
  $17::int[], $18::int[], $19::text[], $20::bigint[], $21::text[], $22::smallint[], $23::text[], $24::boolean[], $25::text[],
  $26::int[], $27::text[], $28::text[], $29::int[], $30::text[], $31::text[])`;

interface AppendRow {
  base_version: number;
  recorded_at: Date;
  refusals: (AppendResult | null)[];
}

/**
 * The next batch out of a queue, in order, leaving in it what must wait: commands that rest on what another of this batch does. The append
 * itself checks that too and would answer `again`; choosing here saves the round trip.
 */
export function takeBatch<T extends { readonly command: DecidedCommand }>(queue: T[]): T[] {
  const batch: T[] = [];
  const left: T[] = [];
  const taken = new Footprint();
  let bytes = 0;
  for (let i = 0; i < queue.length; i++) {
    const entry = queue[i]!;
    const full = batch.length >= BATCH_LIMITS.commands || (batch.length > 0 && bytes + entry.command.size > BATCH_LIMITS.bytes);
    if (full) {
      left.push(...queue.slice(i));
      break;
    }
    if (taken.add(entry.command)) {
      batch.push(entry);
      bytes += entry.command.size;
    } else left.push(entry);
  }
  queue.splice(0, queue.length, ...left);
  return batch;
}

/** What the commands of a batch touch. */
class Footprint {
  private readonly read = new Set<string>();
  private readonly written = new Set<string>();
  private readonly claims = new Set<string>();
  private readonly keys = new Set<string>();
  private empty = true;

  /** False, and nothing added, when the command depends on one that is here. */
  add(command: DecidedCommand): boolean {
    const { context, reads, written, claims } = command;
    const key = context.idempotencyKey ? `${context.actor}\n${context.idempotencyKey}` : undefined;
    if (!this.empty) {
      if (command.expectedStreamVersion !== null) return false;
      if (key !== undefined && this.keys.has(key)) return false;
      for (const subject of reads.keys()) if (this.written.has(subject) || (this.read.has(subject) && written.has(subject))) return false;
      for (const { claim } of claims) if (this.claims.has(claim)) return false;
    }
    this.empty = false;
    if (key !== undefined) this.keys.add(key);
    for (const subject of reads.keys()) (written.has(subject) ? this.written : this.read).add(subject);
    for (const { claim } of claims) this.claims.add(claim);
    return true;
  }
}

/** Appends a batch to its stream in one statement, one transaction. `retry`: an earlier attempt may have been committed; it is looked for. */
export async function appendBatch(client: pg.PoolClient, commands: readonly DecidedCommand[], retry: boolean): Promise<AppendResult[]> {
  const { rows } = await client.query<AppendRow>({ name: 'chancery.append', text: APPEND, values: columns(commands, retry) });
  const row = rows[0]!;
  const recordedAt = row.recorded_at.toISOString();
  let version = row.base_version;
  return commands.map((_, i) => {
    const refusal = row.refusals[i];
    if (refusal) return refusal;
    version += 1;
    return { code: 'appended', version, recordedAt };
  });
}

function columns(commands: readonly DecidedCommand[], retry: boolean): unknown[] {
  const context = commands.map((command) => command.context);
  const reads: unknown[][] = [[], [], [], []];
  const events: unknown[][] = [[], [], [], [], [], [], [], [], []];
  const claims: unknown[][] = [[], [], []];
  const references: unknown[][] = [[], [], []];
  commands.forEach((command, index) => {
    const n = index + 1;
    for (const [subject, version] of command.reads) push(reads, n, subject, version, command.written.has(subject));
    command.events.forEach((event, position) => {
      push(
        events,
        n,
        position,
        event.subject,
        event.subjectVersion,
        event.type,
        event.schemaVersion,
        event.json,
        event.last,
        claimArray(event),
      );
    });
    for (const { subject, claim } of command.claims) push(claims, n, subject, claim);
    for (const { subject, target } of command.references) push(references, n, subject, target);
  });
  const expected = commands.map((command) => command.expectedStreamVersion);
  const keys = context.map(({ idempotencyKey }) => idempotencyKey ?? null);
  return [
    commands[0]!.stream,
    retry,
    context.map(({ commandId }) => commandId),
    context.map(({ action }) => action),
    context.map(({ actor }) => actor),
    context.map(({ reason }) => reason ?? null),
    context.map(({ requestId }) => requestId ?? null),
    // Groups that nobody uses are null as a whole: the append leaves their checks out.
    orNull(keys),
    context.map(({ fingerprint, idempotencyKey }) => (idempotencyKey ? (fingerprint ?? null) : null)),
    orNull(expected),
    commands.map(({ details }) => details),
    orNull(context.map(({ confirmWithinMs }) => confirmWithinMs ?? null)),
    ...reads,
    ...events,
    ...(claims[0]!.length ? claims : [null, null, null]),
    ...(references[0]!.length ? references : [null, null, null]),
  ];
}

function push(target: unknown[][], ...values: unknown[]): void {
  for (let i = 0; i < values.length; i++) target[i]!.push(values[i]);
}

/** The claims of an event's state as the text of a PostgreSQL array: an array of arrays of different lengths is not one that it can take. */
export function claimArray({ claims }: DecidedEvent): string | null {
  if (claims.length === 0) return null;
  return `{${claims.map((claim) => `"${/["\\]/.test(claim) ? claim.replace(/["\\]/g, '\\$&') : claim}"`).join(',')}}`;
}

function orNull(values: unknown[]): unknown[] | null {
  return values.some((value) => value !== null) ? values : null;
}
