import { PLANE_DOWN } from './convergence-invariants.js';
import { type HistoryRecord, HistoryWriter, type OperationValue } from './fault-history.js';
import type { Invariant } from './invariants.js';

/** Ways in which a house can be wrong, each with the invariant that must find it. */
export const plantedBugs = {
  'pushes an older version to a node': 'I7',
  'two workers push in turn': 'I7',
  'a release of a former term is taken': 'I7',
  'goes back without naming a revert': 'I7',
  'the lineage goes back after a restore': 'I7',
  'marks a version as done and pushes it nowhere': 'I6',
  'forgets one node': 'I6',
  'comes to the newest version too late': 'I6',
  'loses the newest version after it was there': 'I6',
  'the fault never ends': 'I6',
  'drops the certificate of one name': 'I8',
  'resets kept connections at a change': 'I8',
  'deletes a cluster that is in use': 'I8',
  'a request is never answered': 'I8',
  'traffic becomes slow': 'I8',
  'the new route goes to the old cluster': 'I9',
  'the new route comes with the old certificate': 'I9',
  'one worker thread keeps the old routes': 'I9',
  'stops serving when the plane is away': 'I13',
  'a cold start waits for the plane': 'I13',
  'nobody asks while the plane is away': 'I13',
  'ignores a refusal and goes on to all nodes': 'I14',
  'keeps the bad version as the last known good one': 'I14',
  'never takes the bad version back': 'I14',
  'is stuck after a bad version': 'I14',
  'needs a hand after a bad version': 'I14',
  'records what it refused': 'I15',
  'takes a write without the scope': 'I15',
  'records a change that nobody sent': 'I15',
  'names the wrong author': 'I15',
  'hangs while the database is away': 'I16',
  'answers after its deadline': 'I16',
  'says 503 and not when to come back': 'I16',
} as const satisfies Readonly<Record<string, Invariant>>;

export type PlantedBug = keyof typeof plantedBugs;

/** The histories of a small house that keeps every invariant, unless a bug is planted. Deterministic: a seed and a bug have one history. */
export function simulate(seed: number, bug?: PlantedBug): HistoryRecord[] {
  return new SimulatedHouse(seed, bug).run();
}

const NODES = ['a', 'b', 'c'] as const;

class SimulatedHouse {
  readonly #history = new HistoryWriter();
  readonly #bug: PlantedBug | undefined;
  #random: number;
  #now = 0;
  #version = 1;
  #term = 1;
  #sequence = 0;
  readonly #runs = new Map<string, number>(NODES.map((node) => [node, 1]));
  /** Since when a node runs what it runs. */
  readonly #since = new Map<string, number>(NODES.map((node) => [node, 0]));
  readonly #dead = new Set<string>();
  #planeIsDown = false;
  #isChanging = false;

  constructor(seed: number, bug: PlantedBug | undefined) {
    this.#random = seed % 2_147_483_647 || 1;
    this.#bug = bug;
  }

  run(): HistoryRecord[] {
    for (const node of NODES) this.#tell('ok', 'node', `node/${node}`, { node });
    this.#traffic(300);
    for (let i = 0; i < 6; i++) this.#change();
    this.#fault('worker is paused', () => {
      this.#change();
      this.#traffic(20);
    });
    this.#term += 1;
    this.#change();
    this.#staleRelease();
    this.#refusals();
    this.#badChange();
    this.#change();
    this.#planeDown();
    this.#databaseAway();
    if (this.#is('the lineage goes back after a restore')) this.#apply('a', this.#version, { lineage: 0, term: 9, sequence: 9 });
    this.#change();
    this.#end();
    return this.#history.records;
  }

  #is(bug: PlantedBug): boolean {
    return this.#bug === bug;
  }

  /** The next number of a linear congruence, from 0 to 1. */
  #draw(): number {
    this.#random = (this.#random * 48_271) % 2_147_483_647;
    return this.#random / 2_147_483_647;
  }

  #tell(type: HistoryRecord['type'], op: HistoryRecord['op'], actor: string, value: OperationValue, cmdId = this.#history.id()): string {
    this.#history.add({ t_mono: this.#now, type, op, actor, value, cmdId });
    return cmdId;
  }

  #write(value: OperationValue, end: { type: 'ok' | 'fail' | 'info'; value: OperationValue }, tookMs = 2): string {
    const by = value.by ?? 'token/1';
    const id = this.#tell('invoke', 'write', 'writer/1', { deadlineMs: 5_000, by, scopes: ['write'], ...value });
    this.#now += tookMs;
    this.#tell(end.type, 'write', 'writer/1', end.value, id);
    return id;
  }

  /** A good change: written, recorded, pushed to every node, and seen. */
  #change(): void {
    this.#version += 1;
    const id = this.#write({ revision: this.#version }, { type: 'ok', value: { version: this.#version, status: 200 } });
    this.#tell(
      'ok',
      'event',
      'log',
      { version: this.#version, by: this.#is('names the wrong author') && this.#version === 4 ? 'token/2' : 'token/1' },
      id,
    );
    this.#isChanging = true;
    this.#traffic(2);
    this.#isChanging = false;
    for (const node of NODES) this.#push(node, this.#version);
    this.#traffic(10);
  }

  #push(node: string, version: number): void {
    if (this.#planeIsDown || (this.#is('forgets one node') && node === 'c' && version > 3)) return;
    if (this.#is('is stuck after a bad version') && version > 10 && node === 'b') return;
    this.#sequence += 1;
    const back = this.#is('pushes an older version to a node') && version === 5 && node === 'b';
    const twice = this.#is('two workers push in turn') && version === 6 && node === 'a';
    this.#apply(node, back ? version - 3 : version, { lineage: 1, term: this.#term + (twice ? 1 : 0), sequence: this.#sequence });
    if (twice) this.#apply(node, version, { lineage: 1, term: this.#term, sequence: this.#sequence + 1 });
    if (!this.#is('marks a version as done and pushes it nowhere') || version < 8) this.#runs.set(node, version);
    this.#since.set(node, this.#now);
    this.#now += 1;
    this.#sight(node);
    this.#tell('ok', 'kept', `node/${node}`, { node, version });
  }

  #apply(node: string, version: number, fence: OperationValue['fence']): void {
    this.#tell('ok', 'applied', `node/${node}`, { node, version, ...(fence === undefined ? {} : { fence }) });
  }

  #sight(node: string, bad = false): void {
    this.#tell('ok', 'sight', `node/${node}`, { node, version: this.#runs.get(node) ?? 0, ...(bad ? { bad } : {}) });
  }

  #staleRelease(): void {
    if (this.#is('a release of a former term is taken'))
      this.#apply('c', this.#version, { lineage: 1, term: this.#term - 1, sequence: this.#sequence + 5 });
    if (this.#is('goes back without naming a revert')) this.#apply('c', 2, { lineage: 1, term: this.#term, sequence: this.#sequence + 1 });
    this.#sequence += 10;
  }

  #fault(name: string, during: () => void): void {
    const id = this.#tell('invoke', 'fault', 'nemesis', { name });
    this.#now += 5;
    during();
    if (!(this.#is('the fault never ends') && name === PLANE_DOWN)) this.#tell('ok', 'fault', 'nemesis', { name }, id);
  }

  #refusals(): void {
    const refused = this.#write({ revision: 0 }, { type: 'fail', value: { status: 422 } });
    if (this.#is('records what it refused')) this.#tell('ok', 'event', 'log', { version: this.#version, by: 'token/1' }, refused);
    const leak = this.#is('takes a write without the scope');
    const reader = this.#write(
      { by: 'token/reader', scopes: ['read'] },
      leak ? { type: 'ok', value: { version: this.#version } } : { type: 'fail', value: { status: 403 } },
    );
    if (leak) this.#tell('ok', 'event', 'log', { version: this.#version, by: 'token/reader' }, reader);
    if (this.#is('records a change that nobody sent')) this.#tell('ok', 'event', 'log', { version: this.#version, by: 'token/9' });
    // Unknown is not failed: this one was recorded after all.
    const unknown = this.#write({ revision: 0 }, { type: 'info', value: { reason: 'reset' } });
    this.#version += 1;
    this.#tell('ok', 'event', 'log', { version: this.#version, by: 'token/1' }, unknown);
    for (const node of NODES) this.#push(node, this.#version);
  }

  /** A change that Envoy refuses: one node meets it, and it is taken back by a new version. */
  #badChange(): void {
    this.#version += 1;
    const version = this.#version;
    const id = this.#write({ bad: true, mostAffected: 1 }, { type: 'ok', value: { version } });
    this.#tell('ok', 'event', 'log', { version, by: 'token/1' }, id);
    const nodes = this.#is('ignores a refusal and goes on to all nodes') ? NODES : (['a'] as const);
    for (const node of nodes) {
      this.#sequence += 1;
      this.#apply(node, version, { lineage: 1, term: this.#term, sequence: this.#sequence });
      this.#runs.set(node, version);
      this.#sight(node, true);
      if (this.#is('keeps the bad version as the last known good one'))
        this.#tell('ok', 'kept', `node/${node}`, { node, version, bad: true });
    }
    this.#now += this.#is('never takes the bad version back') ? 70_000 : 500;
    if (this.#is('never takes the bad version back')) this.#sight('a', true);
    if (this.#is('needs a hand after a bad version')) this.#tell('ok', 'human', 'operator', { name: 'chancery recover' });
    this.#version += 1;
    this.#tell('ok', 'event', 'log', { version: this.#version, by: 'system' });
    for (const node of NODES) this.#push(node, this.#version);
  }

  /** Everything but the Envoys is away; one of those is killed, and starts from its disk. */
  #planeDown(): void {
    this.#fault(PLANE_DOWN, () => {
      this.#planeIsDown = true;
      if (!this.#is('nobody asks while the plane is away')) this.#traffic(40);
      const id = this.#tell('invoke', 'envoy', 'nemesis', { node: 'b' });
      this.#dead.add('b');
      if (!this.#is('nobody asks while the plane is away')) this.#traffic(5);
      this.#now += this.#is('a cold start waits for the plane') ? 15_000 : 700;
      this.#dead.delete('b');
      this.#tell('ok', 'envoy', 'nemesis', { node: 'b' }, id);
      if (!this.#is('nobody asks while the plane is away')) this.#traffic(40);
    });
    this.#planeIsDown = false;
    for (const node of NODES) this.#sight(node);
  }

  #databaseAway(): void {
    this.#fault('database is away', () => {
      const late = this.#is('answers after its deadline') ? 9_000 : 4_000;
      const retryAfter = !this.#is('says 503 and not when to come back');
      this.#write({}, { type: 'info', value: { status: 503, retryAfter } }, late);
      if (this.#is('hangs while the database is away'))
        this.#tell('invoke', 'write', 'writer/1', { deadlineMs: 5_000, by: 'token/1', scopes: ['write'] });
      this.#write({}, { type: 'info', value: { reason: 'refused' } }, 1);
    });
  }

  #end(): void {
    if (this.#is('comes to the newest version too late')) this.#late();
    if (this.#is('loses the newest version after it was there')) {
      this.#runs.set('a', this.#version - 1);
      this.#sight('a');
    }
  }

  /** The last change again, and nothing for a long time. */
  #late(): void {
    this.#version += 1;
    const id = this.#write({ revision: this.#version }, { type: 'ok', value: { version: this.#version } });
    this.#tell('ok', 'event', 'log', { version: this.#version, by: 'token/1' }, id);
    this.#now += 20_000;
    for (const node of NODES) this.#push(node, this.#version);
  }

  /** Requests to every node: for what nobody changes, and for what changes. */
  #traffic(rounds: number): void {
    for (let round = 0; round < rounds; round++) for (const node of NODES) this.#requests(node, round);
  }

  #requests(node: string, round: number): void {
    this.#now += 1;
    const fresh = this.#draw() < 0.5;
    const steady = this.#tell('invoke', 'request', `client/${fresh ? 'new' : 'kept'}`, { node, steady: true, fresh, thing: '/stable/' });
    const changing = this.#tell('invoke', 'request', 'client/new', { node, fresh: true, thing: '/canary/' });
    this.#now += 1 + this.#draw() + (this.#is('traffic becomes slow') && this.#version > 7 ? 100 : 0);
    const lost = this.#loss(node, fresh, round);
    if (lost === undefined) this.#tell('ok', 'request', 'client', { node, status: 200, seen: { route: 1 } }, steady);
    else if (lost !== 'never') this.#tell('fail', 'request', 'client', { node, reason: lost }, steady);
    if (!this.#dead.has(node)) this.#tell('ok', 'request', 'client', { node, status: 200, seen: this.#seen(node) }, changing);
    else this.#tell('fail', 'request', 'client', { node, reason: 'refused' }, changing);
  }

  #loss(node: string, fresh: boolean, round: number): string | undefined {
    if (this.#dead.has(node)) return 'refused';
    if (this.#is('drops the certificate of one name') && this.#version === 5 && fresh) return 'handshake failed';
    if (this.#is('resets kept connections at a change') && this.#isChanging && !fresh) return 'reset';
    if (this.#is('deletes a cluster that is in use') && this.#version === 6 && round === 0) return 'status 503';
    if (this.#is('a request is never answered') && this.#version === 7 && round === 0) return 'never';
    if (this.#is('stops serving when the plane is away') && this.#planeIsDown && node === 'c') return 'status 503';
    return undefined;
  }

  #seen(node: string): Record<string, number> {
    const version = this.#runs.get(node) ?? 0;
    const changed = version > 3 && node === 'a';
    if (this.#is('one worker thread keeps the old routes') && version > 10 && node === 'b' && this.#draw() < 0.3)
      return { route: version - 2, cluster: version - 2 };
    return {
      route: version,
      cluster: version - (this.#is('the new route goes to the old cluster') && changed ? 1 : 0),
      certificate: version - (this.#is('the new route comes with the old certificate') && changed ? 1 : 0),
    };
  }
}
