/** One cell of the matrix: when `process` reaches `point`, `victim` is killed or stopped. */
export interface Cell {
  readonly process: Process;
  readonly point: string;
  readonly victim: Victim;
  readonly action: 'kill' | 'stop';
}

export type Process = 'api' | 'projector' | 'worker' | 'agent';
export type Victim = Process | 'postgres' | 'envoy' | 'dev';

/** How the gateway is delivered while the cell is run. */
export type Delivery = 'hot-restart' | 'live';

/** Every failpoint in the code that a change of one mapping passes on its way to a hot restart, by process. `coverage` in the specification compares it with the sources. */
export const points: Readonly<Record<Process, readonly string[]>> = {
  api: ['eventstore.beforeTx', 'eventstore.afterCommitBeforeAck'],
  projector: ['projector.beforeApply', 'projector.afterApply', 'projector.beforeAudit', 'projector.afterAudit'],
  worker: [
    'worker.afterReadBeforeEnqueue',
    'worker.afterEnqueue',
    'worker.afterDequeue',
    'worker.afterRender',
    'worker.beforePush',
    'worker.afterPushBeforeAck',
    'worker.beforeRecord',
    'worker.beforeJobComplete',
  ],
  agent: [
    'agent.afterManifestWritten',
    'agent.beforeFork',
    'agent.afterFork',
    'agent.afterChildLive',
    'agent.beforeProof',
    'agent.beforeReportSent',
  ],
};

/** Those that it passes when it goes live, except what is the same on both ways and struck there. */
export const livePoints: Readonly<Record<Process, readonly string[]>> = {
  api: ['eventstore.afterCommitBeforeAck'],
  projector: [],
  worker: ['worker.beforeLivePush', 'worker.afterLivePush', 'worker.beforeRecord'],
  agent: ['agent.afterLiveWritten', 'agent.afterLiveRelayed', 'agent.beforeProof', 'agent.beforeReportSent'],
};

/** Points that a change of one mapping does not pass; each has its own test beside its code. */
export const pointsElsewhere: readonly string[] = [
  'eventstore.beforeCommit',
  'worker.beforeWaveStep',
  'worker.afterExpiryBeforeRevert',
  'worker.afterRevertBeforeSettled',
  'keys.afterRewrap',
];

/** Where the processes without failpoints of their own are struck: in the middle of what others do with them. */
const struckElsewhere: readonly (readonly [Victim, Process, string])[] = [
  ['postgres', 'api', 'eventstore.beforeTx'],
  ['postgres', 'api', 'eventstore.afterCommitBeforeAck'],
  ['postgres', 'worker', 'worker.beforeRecord'],
  ['postgres', 'projector', 'projector.beforeApply'],
  ['envoy', 'agent', 'agent.afterManifestWritten'],
  ['envoy', 'agent', 'agent.beforeProof'],
  ['envoy', 'worker', 'worker.beforePush'],
  ['dev', 'api', 'eventstore.afterCommitBeforeAck'],
  ['dev', 'worker', 'worker.afterPushBeforeAck'],
  ['dev', 'agent', 'agent.afterFork'],
];

/**
 * How long the others wait for a process before they do without it, in milliseconds; a stopped one stays stopped for three of these.
 * api: a client's patience. projector: the time to standby. worker and agent: two missed heartbeats. postgres: a read's deadline. envoy: an answer's
 * deadline in the proof. dev: nobody waits for it.
 */
export const deadlineMs: Readonly<Record<Victim, number>> = {
  api: 3_000,
  projector: 2_000,
  worker: 3_000,
  agent: 3_000,
  postgres: 5_000,
  envoy: 1_000,
  dev: 2_000,
};

export function cellsOf(action: Cell['action'], delivery: Delivery): readonly Cell[] {
  const passed = delivery === 'live' ? livePoints : points;
  const own = (Object.keys(passed) as Process[]).flatMap((process) =>
    passed[process].map((point): Cell => ({ process, point, victim: process, action })),
  );
  if (delivery === 'live') return own;
  return [...own, ...struckElsewhere.map(([victim, process, point]): Cell => ({ process, point, victim, action }))];
}
