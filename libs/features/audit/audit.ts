import type { Decided, View } from '#platform/eventstore/event-store.js';
import type { Json, JsonObject } from '#platform/kernel/json.js';

/**
 * The trail: who did what, and who was refused it. What was done is in the log already, a version each. What was refused is recorded here, in a stream of
 * its own, so that it never waits for anybody's head: one event an attempt while they are few, and counts when they are many.
 */
export const REFUSALS_STREAM = 'refusals';

/** Who is not known. */
export const ANONYMOUS = 'anonymous';

const MOST_POINTERS = 10;
const LONGEST_POINTER = 200;

/** One refused attempt, as it is kept. Never a body, and of what was wrong only where. */
export interface AttemptState extends JsonObject {
  readonly method: string;
  /** The route's template. */
  readonly route: string;
  readonly gateway: string | null;
  /** What the address named: `mapping/user`. */
  readonly subject: string | null;
  readonly status: number;
  readonly code: string;
  /** At most 10. */
  readonly pointers: readonly string[];
  readonly requestId: string;
  /** Of the command that was refused. */
  readonly commandId: string | null;
  readonly dryRun: boolean;
}

/** The members of a path's last collection, as subjects are called. */
const kinds: Readonly<Record<string, string>> = {
  mappings: 'mapping',
  mapping: 'mapping',
  principals: 'principal',
  principal: 'principal',
  certificates: 'certificate',
  tokens: 'token',
  targets: 'target',
  deployments: 'deployment',
  redeployments: 'redeployment',
  quarantines: 'quarantine',
};

/** What a name can be. Anything else in a path is somebody's text, and is not kept. */
const name = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const token = /chy_[A-Za-z0-9]+_[A-Za-z0-9_-]+/g;

/** The gateway and the subject that an address names, out of a route's template and what stood in the path for its parameters. */
export function namedBy(
  route: string,
  parameters: Readonly<Record<string, string>>,
): { readonly gateway: string | null; readonly subject: string | null } {
  const parts = route.split('/').slice(1);
  const gateway = parts[0] === 'ambassador' ? 'default' : known(parameters.gateway);
  const at = parts.findLastIndex((part) => part.startsWith(':') && part !== ':gateway');
  if (at < 0) return { gateway, subject: parts.at(-1) === 'settings' ? 'gateway' : null };
  const kind = kinds[parts[at - 1] ?? ''];
  const named = known(parameters[(parts[at] ?? '').slice(1)]);
  return { gateway, subject: kind === undefined || named === null ? null : `${kind}/${named}` };
}

function known(text: string | undefined): string | null {
  return text !== undefined && name.test(text) && text.search(token) < 0 ? text : null;
}

/** Where a body was wrong. A member's name is the caller's text: it is cut short, and a token in it is not kept. */
export function keptPointers(pointers: readonly string[]): string[] {
  return pointers.slice(0, MOST_POINTERS).map((pointer) => pointer.replaceAll(token, 'chy_[redacted]').slice(0, LONGEST_POINTER));
}

/** The decision of recording one attempt. */
export const recordAttempt =
  (id: string, state: AttemptState) =>
  (_view: View): Decided => ({
    events: [{ type: 'AttemptRefused', schemaVersion: 1, subject: attemptSubject(id), state }],
    details: null,
  });

export function attemptSubject(id: string): string {
  return `attempt/${id}`;
}

/** Attempts of one kind, counted. */
export interface AttemptCount {
  readonly status: number;
  readonly code: string;
  readonly count: number;
}

/** What one source (`token/<id>`, `address/<address>`, `others`) was refused in one minute and is not recorded yet. */
export interface CountedSource {
  readonly source: string;
  /** `2026-11-25T17:05Z` */
  readonly minute: string;
  readonly counts: readonly AttemptCount[];
}

export function floodSubject({ source, minute }: CountedSource): string {
  return `flood/${source}/${minute}`;
}

/**
 * The decision of recording counts. A subject's state is the sum of its minute so far, of all processes; what this version adds is in the record's details
 * (`attempts`, and `status` and `code` when they are all the same).
 */
export const recordCounts =
  (sources: readonly CountedSource[]) =>
  (view: View): Decided => {
    const added = sources.flatMap(({ counts }) => counts);
    const events = sources.map((counted) => {
      const subject = floodSubject(counted);
      const before = (view.subject(subject).state?.counts ?? []) as unknown as readonly AttemptCount[];
      const counts = sumOf([...before, ...counted.counts]);
      const state = { source: counted.source, minute: counted.minute, total: total(counts), counts: counts as unknown as Json };
      return { type: 'AttemptsCounted', schemaVersion: 1, subject, state };
    });
    const kindsSeen = sumOf(added);
    const [only] = kindsSeen;
    const same = kindsSeen.length === 1 && only !== undefined ? { status: only.status, code: only.code } : {};
    return { events, details: { attempts: total(added), ...same } };
  };

function total(counts: readonly AttemptCount[]): number {
  return counts.reduce((sum, { count }) => sum + count, 0);
}

/** One entry for each status and code, in their order. */
export function sumOf(counts: readonly AttemptCount[]): AttemptCount[] {
  const sums = new Map<string, AttemptCount>();
  for (const { status, code, count } of counts) {
    const key = `${status} ${code}`;
    sums.set(key, { status, code, count: (sums.get(key)?.count ?? 0) + count });
  }
  return [...sums].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, sum]) => sum);
}
