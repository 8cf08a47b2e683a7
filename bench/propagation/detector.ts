import { type Contender, pathOf } from '../peers/contender.js';
import { type Probe, probe } from '../peers/probe.js';

export type ChangeKind = 'create' | 'update' | 'delete';

/** One change and when it was seen to serve; milliseconds since just before its request was sent. */
export interface Change {
  readonly kind: ChangeKind;
  /** The system's own answer that the change is accepted. */
  readonly ackMs: number;
  /** The first right answer on a new connection. */
  readonly liveMs: number;
  /** The first of thirty right answers in a row. */
  readonly stableMs: number;
  /** Wrong answers after the first right one. */
  readonly flaps: number;
  /** Answers that are neither what was before the change nor what is after it: the first of them in words. */
  readonly odd: number;
  readonly firstOdd?: string;
  /** The time between two probes, on average: what the figures can tell apart. */
  readonly resolutionMs: number;
}

/** It is a result as well: so long, and the change does not serve. */
export class NotLiveError extends Error {
  override readonly name = 'NotLiveError';
}

const IN_A_ROW = 30;
const AFTER_DELETE = 404;

/** Creates a route, changes it and deletes it again, and measures each. */
export async function measureRound(
  contender: Contender,
  route: number,
  { pauseMs, limitMs }: { pauseMs: number; limitMs: number },
): Promise<Change[]> {
  const path = pathOf(route);
  const serves = (revision: string) => {
    const answer = contender.answer(route, revision);
    return ({ status, head }: Probe) => status === 200 && head.includes(answer);
  };
  const isGone = ({ status }: Probe) => status === AFTER_DELETE;
  const [first, second] = [serves('r1'), serves('r2')];
  const changes: Change[] = [];
  const steps = [
    { kind: 'create', order: () => contender.create(route, 'r1'), before: isGone, after: first },
    { kind: 'update', order: () => contender.update(route, 'r2'), before: first, after: second },
    { kind: 'delete', order: () => contender.remove(route), before: second, after: isGone },
  ] as const;
  for (const step of steps) {
    changes.push(await measureChange(contender, path, step, limitMs));
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
  return changes;
}

interface Step {
  readonly kind: ChangeKind;
  readonly order: () => Promise<void>;
  readonly before: (probe: Probe) => boolean;
  readonly after: (probe: Probe) => boolean;
}

/** Probes without a pause, each on a new connection, while the change is on its way. */
async function measureChange({ host, port }: Contender, path: string, step: Step, limitMs: number): Promise<Change> {
  let [probes, flaps, odd, inARow] = [0, 0, 0, 0];
  let [live, stable] = [Number.NaN, Number.NaN];
  let firstOdd: string | undefined;
  const began = performance.now();
  const acked = step.order().then(() => performance.now() - began);
  let refusal: unknown;
  acked.catch((error) => {
    refusal = error; // what was not accepted is not waited for
  });
  for (;;) {
    const got = await probe(host, port, path);
    const now = performance.now() - began;
    probes += 1;
    if (step.after(got)) {
      if (inARow === 0) stable = now;
      if (Number.isNaN(live)) live = now;
      inARow += 1;
      if (inARow === IN_A_ROW) break;
    } else {
      inARow = 0;
      if (!Number.isNaN(live)) flaps += 1;
      if (!step.before(got)) {
        odd += 1;
        firstOdd ??= `${got.status} ${got.head.split('\r\n')[0]}`;
      }
      if (refusal !== undefined) throw refusal;
      if (now > limitMs)
        throw new NotLiveError(`${step.kind}: not live within ${limitMs} ms, the last answer was ${got.status} ${got.head}`);
    }
  }
  const whole = performance.now() - began;
  const oddity = firstOdd === undefined ? {} : { firstOdd };
  return { kind: step.kind, ackMs: await acked, liveMs: live, stableMs: stable, flaps, odd, ...oddity, resolutionMs: whole / probes };
}
