import type { SubjectKinds } from '#features/history/subject-kind.js';
import type { RouteGuard } from '#features/mapping/route-guard.js';
import type { Db } from '#platform/database/database.js';
import type { Decided, EventStore, HandleRequest, NewEvent, Outcome, View, WideView } from '#platform/eventstore/event-store.js';
import { readSubject } from '#platform/eventstore/read-log.js';
import { handleMany } from '#platform/eventstore/snapshot-command.js';
import { DomainError } from '#platform/kernel/errors.js';
import { canonicalJson, type Json, type JsonObject } from '#platform/kernel/json.js';
import { runInTurns, runToEnd } from '#platform/kernel/turns.js';

import { findLostSecrets } from './lost-secrets.js';
import { planRevert, type RevertConflict, type SubjectChange, settingsSubject, WHOLE_DEADLINE_MS } from './restore.js';
import { readClaimOwners, readLaterStates } from './version-changes.table.js';

/** So many conflicts are looked through for the version that made them, each by a question of its own; the others name the last one that touched the subject. */
const MOST_DATED = 1_000;
/** From so many subjects on a revert is planned in turns with others, which a decision of `EventStore.handle` cannot be. */
const MANY = 500;

/** What a revert works with. */
export interface RestoreWorld {
  readonly db: Db;
  readonly events: EventStore;
  readonly kinds: SubjectKinds;
}

/** Thrown inside an attempt: these subjects cannot go back, and nothing was done. */
export class RevertConflicts extends Error {
  constructor(readonly conflicts: readonly RevertConflict[]) {
    super('a revert meets later changes');
  }
}

export interface RevertAttempt {
  readonly version: number;
  readonly changes: readonly SubjectChange[];
  /** Subjects that are left as they are. */
  readonly leave?: ReadonlySet<string>;
  readonly request: Omit<HandleRequest, 'subjects'>;
  /** Looks at what would be written. @returns what the record says beside it. @throws RevertConflicts, DomainError to refuse. */
  review(events: readonly NewEvent[], view: View): JsonObject;
  /** What the route tests are run by; nobody's for what undoes itself. */
  readonly guard?: RouteGuard;
}

/**
 * Undoes one version in one command, or nothing of it.
 * @throws RevertConflicts what later versions stand in the way of: found by the merge, or by the append (a claim that somebody else holds by now, a
 * reference); DomainError as `EventStore.handle` and `review`.
 */
export async function attemptRevert(world: RestoreWorld, attempt: RevertAttempt): Promise<Outcome> {
  const { version, changes, leave, request } = attempt;
  let planned: readonly NewEvent[] = [];
  const secrets = {
    at: new Date(),
    lost: await findLostSecrets(world, formerStates(changes)),
  };
  try {
    const subjects = [settingsSubject, ...changes.map(({ subject }) => subject).filter((subject) => subject !== settingsSubject)];
    const planning = (view: View) =>
      planRevert({ kinds: world.kinds, version, changes, secrets, present: (subject) => view.subject(subject), ...(leave && { leave }) });
    function* deciding(view: WideView): Generator<undefined, Decided> {
      const plan = yield* planning(view);
      if (plan.conflicts.length > 0) throw new RevertConflicts(plan.conflicts);
      planned = plan.events;
      yield undefined;
      const decided = { events: plan.events, details: attempt.review(plan.events, view) };
      yield undefined;
      return attempt.guard === undefined ? decided : yield* attempt.guard.reviewing(decided, view);
    }
    const whole = { deadlineMs: WHOLE_DEADLINE_MS, ...request, kinds: attempt.guard?.kinds ?? [] };
    if (subjects.length > MANY) return await handleMany(world.events, whole, subjects, (view) => runInTurns(deciding(view)));
    return await world.events.handle({ ...whole, subjects }, (view) => runToEnd(deciding(view)));
  } catch (error) {
    if (error instanceof RevertConflicts) throw new RevertConflicts(await dated(world.db, request.stream, version, error.conflicts));
    const conflicts = await conflictsOfRefusal(world.db, request.stream, version, error, planned);
    throw conflicts.length === 0 ? error : new RevertConflicts(conflicts);
  }
}

function* formerStates(changes: readonly SubjectChange[]): Iterable<{ subject: string; state: JsonObject | null }> {
  for (const { subject, before } of changes) yield { subject, state: before };
}

/** The conflicts with the version that made each member what it is, where it was not the last one to touch the subject. */
async function dated(db: Db, stream: string, version: number, conflicts: readonly RevertConflict[]): Promise<RevertConflict[]> {
  const result: RevertConflict[] = [];
  for (const conflict of conflicts) {
    if (conflict.pointer === '' || result.length >= MOST_DATED) {
      result.push(conflict);
      continue;
    }
    const later = await readLaterStates(db, stream, conflict.subject, version);
    const texts = later.map(({ state }) => canonicalJson(valueAt(state, conflict.pointer) ?? null));
    const since = texts.findIndex((text) => text !== texts[0]);
    const maker = later.at(since < 0 ? -1 : since - 1);
    result.push(maker === undefined ? conflict : { ...conflict, laterVersion: maker.version });
  }
  return result;
}

function valueAt(state: JsonObject | null, pointer: string): Json | undefined {
  const steps = pointer
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
  return steps.reduce<Json | undefined>(
    (at, step) => (typeof at === 'object' && at !== null && Object.hasOwn(at, step) ? (at as JsonObject)[step] : undefined),
    state,
  );
}

/** What the append refuses is in the way of subjects of the plan; none for a refusal that is about something else. */
async function conflictsOfRefusal(
  db: Db,
  stream: string,
  version: number,
  error: unknown,
  planned: readonly NewEvent[],
): Promise<RevertConflict[]> {
  if (!(error instanceof DomainError)) return [];
  const { subject = '', by = '' } = error.extra as Readonly<Record<string, string | undefined>>;
  const conflict = async (event: NewEvent | undefined, inTheWay: string, message: string): Promise<RevertConflict[]> => {
    if (event === undefined) return [];
    const { streamVersion } = await readSubject(db, stream, inTheWay);
    return [{ subject: event.subject, pointer: '', laterVersion: streamVersion, message: `${event.subject} ${message}` }];
  };
  switch (error.code) {
    case 'claim_taken':
      return conflictsOfClaims(db, stream, version, planned);
    case 'referenced':
      return conflict(
        planned.find((event) => event.subject === subject),
        by,
        `is in use by ${by}, so that it cannot end.`,
      );
    case 'reference_missing':
      return conflict(
        planned.find((event) => event.references?.includes(subject)),
        subject,
        `needs ${subject}, which is not there any more.`,
      );
    default:
      return [];
  }
}

/** Every subject of the plan whose claims others hold by now; the append names only the first. */
async function conflictsOfClaims(db: Db, stream: string, version: number, planned: readonly NewEvent[]): Promise<RevertConflict[]> {
  const owners = await readClaimOwners(
    db,
    stream,
    planned.flatMap(({ claims }) => claims ?? []),
  );
  const written = new Set(planned.map(({ subject }) => subject));
  const byClaim = new Map(owners.filter(({ owner }) => !written.has(owner)).map((held) => [held.claim, held]));
  return planned.flatMap(({ subject, claims }) => {
    const held = claims?.flatMap((claim) => byClaim.get(claim) ?? [])[0];
    if (held === undefined) return [];
    const message = `${held.owner} has by now what ${subject} had before version ${version}; change or delete ${held.owner} first.`;
    return [{ subject, pointer: '', laterVersion: held.version, message }];
  });
}
