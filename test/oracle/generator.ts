import type { Members, Value } from './canonical.js';
import type { Change, Command, ImportedDocument, Step } from './commands.js';

/** A small generator of numbers (mulberry32): equal seeds give equal histories on every machine. */
export function numbersFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Few names and few matches, so that commands meet: the same subject again, a match that another holds, a name that came back. */
const names = ['a', 'b', 'c', 'd'];
const paths = ['/a/', '/b/', '/c/'];
const hosts = ['*', 'x.example', '*.example', 'X.Example.'];
const services = ['usersvc', 'ordersvc.default:8080', 'https://pay.default'];
const principals = ['p', 'q'];
const prints = ['ab', 'cd'].map((pair) => pair.repeat(32));
const owners = ['team-1', 'team-2'];

/** Random histories. `concurrent`: some steps are several commands at once. */
export class Generator {
  readonly #next: () => number;

  constructor(seed: number) {
    this.#next = numbersFrom(seed);
  }

  history(concurrent: boolean): Step[] {
    const length = 5 + this.#below(11);
    const steps: Step[] = [{ commands: [this.#beginning()] }, { commands: [this.#beginning()] }];
    while (steps.length < length) {
      if (!concurrent && this.#chance(0.04)) steps.push(...this.#quarantining());
      else steps.push(this.#step(concurrent));
    }
    return steps;
  }

  /** A state is put under quarantine, goes, and is brought back. */
  #quarantining(): Step[] {
    const name = this.#one(names);
    const back = { back: 1 };
    const returning = this.#one<Command>([
      { kind: 'reimport', of: back },
      { kind: 'rollback', to: back },
      { kind: 'revert', of: { back: 0 } },
    ]);
    return [
      { commands: [], quarantining: { subject: `mapping/${name}`, at: { back: 0 } } },
      { commands: [{ kind: 'delete', name }] },
      { commands: [this.#based(returning)] },
    ];
  }

  below(limit: number): number {
    return this.#below(limit);
  }

  #below(limit: number): number {
    return Math.floor(this.#next() * limit);
  }

  #one<T>(of: readonly T[]): T {
    return of[this.#below(of.length)] as T;
  }

  #chance(of: number): boolean {
    return this.#next() < of;
  }

  #step(concurrent: boolean): Step {
    const count = concurrent && this.#chance(0.5) ? 2 + this.#below(3) : 1;
    return { commands: Array.from({ length: count }, () => this.#sent(this.#command())) };
  }

  /** A history begins with something to change. */
  #beginning(): Command {
    const changes = names.slice(0, 3).map((name): Change => ({ op: 'put', subject: `mapping/${name}`, value: this.#body() }));
    return this.#chance(0.8) ? { kind: 'changeset', changes } : { kind: 'upsert', name: this.#one(names), body: this.#body() };
  }

  #sent(command: Command): Step['commands'][number] {
    return this.#chance(0.92) ? this.#based(command) : { ...this.#based(command), isTwice: true };
  }

  #based(command: Command): Step['commands'][number] {
    if (this.#chance(0.1)) return { ...command, isOverriding: true };
    if (this.#chance(0.85)) return command;
    return { ...command, basedOn: this.#chance(0.7) ? 'head' : 'older' };
  }

  #command(): Command {
    const dice = this.#below(100);
    const name = this.#one(names);
    if (dice < 14) return { kind: 'create', name, body: this.#body() };
    if (dice < 19) return { kind: 'replace', name, body: this.#body() };
    if (dice < 27) return { kind: 'upsert', name, body: this.#body() };
    if (dice < 49) return { kind: 'patch', name, body: this.#patch() };
    if (dice < 55) return { kind: 'delete', name };
    if (dice < 60) return { kind: 'putPrincipal', name: this.#one(principals), fingerprint: this.#fingerprint() };
    if (dice < 63) return { kind: 'deletePrincipal', name: this.#one(principals) };
    if (dice < 67) return { kind: 'configure', patch: this.#settings() };
    if (dice < 76) return { kind: 'changeset', changes: this.#changes() };
    if (dice < 81) return this.#import();
    if (dice < 84) return { kind: 'reimport', of: { back: this.#below(8) } };
    if (dice < 91) return { kind: 'rollback', to: { back: 1 + this.#below(9) } };
    return { kind: 'revert', of: { back: this.#below(6) } };
  }

  #body(): Members {
    const body: Members = { service: this.#one(services) };
    const dice = this.#below(20);
    if (dice > 0) body[dice < 4 ? 'path' : 'prefix'] = this.#one(paths); // 0: neither, which is refused
    if (dice === 1) body.prefix = '/both/';
    if (this.#chance(0.3)) body.host = this.#one(hosts);
    if (this.#chance(0.3)) body.methods = this.#one<Value[]>([['GET'], ['POST', 'GET'], ['PUT'], []]);
    if (this.#chance(0.2)) body.headers = this.#one<Members>([{ 'X-A': '1' }, { 'x-a': '1', 'x-b': '2' }, {}]);
    if (this.#chance(0.2)) body.rewrite = this.#one(['/', '/r/']);
    if (this.#chance(0.2)) body.precedence = this.#below(3);
    if (this.#chance(0.3)) body.timeoutMs = 1000 * (1 + this.#below(3));
    if (this.#chance(0.4)) body.labels = this.#labels();
    return body;
  }

  #labels(): Members {
    return this.#one<Members>([{ tier: '1' }, { tier: '2', zone: 'é' }, { zone: 'w' }, {}]);
  }

  #patch(): Members {
    const patches: Members[] = [
      { service: this.#one(services) },
      { labels: { tier: this.#one(['1', '3']), zone: null } },
      { labels: null },
      { headers: { 'x-a': this.#one<Value>(['1', null]) } },
      { timeoutMs: this.#one<Value>([null, 2000, 7000]) },
      { precedence: this.#below(3), rewrite: this.#one<Value>([null, '/r/']) },
      { prefix: this.#one(paths), path: null },
      { path: '/p', prefix: null },
      { prefix: null }, // no match is left, unless there is a path
      { methods: this.#one<Value>([null, ['GET'], ['PUT', 'GET']]) },
      { host: this.#one<Value>([null, 'x.example']) },
      {},
    ];
    return this.#one(patches);
  }

  #settings(): Members {
    return this.#one<Members>([
      { defaultTimeoutMs: 4000 + 1000 * this.#below(3) },
      { services: { usersvc: [`10.0.0.${1 + this.#below(3)}:80`] } },
      { services: { usersvc: null } },
      { services: { other: ['10.0.0.9:80', '10.0.0.8:80'] }, perRouteStats: this.#one(['on', 'off']) },
      { drainTimeS: 0 }, // out of range
    ]);
  }

  #fingerprint(): string {
    const print = this.#one(prints);
    return this.#chance(0.3) ? print.toUpperCase() : print;
  }

  #changes(): Change[] {
    return Array.from({ length: 1 + this.#below(4) }, () => this.#change(this.#subject()));
  }

  #subject(): string {
    const dice = this.#below(10);
    return dice === 0 ? 'gateway' : dice === 1 ? `principal/${this.#one(principals)}` : `mapping/${this.#one(names)}`;
  }

  #change(subject: string): Change {
    const condition = this.#chance(0.9) ? {} : { condition: this.#chance(0.7) ? ('right' as const) : ('wrong' as const) };
    if (subject === 'gateway') {
      if (this.#chance(0.3)) return { op: 'put', subject, value: { defaultTimeoutMs: 4000 + 1000 * this.#below(3) }, ...condition };
      return { op: 'patch', subject, value: this.#settings(), ...condition };
    }
    const dice = this.#below(10);
    if (dice < 2) return { op: 'delete', subject, ...condition };
    if (subject.startsWith('principal/')) return { op: 'put', subject, value: { fingerprint: this.#fingerprint() }, ...condition };
    return dice < 5
      ? { op: 'patch', subject, value: this.#patch(), ...condition }
      : { op: 'put', subject, value: this.#body(), ...condition };
  }

  #import(): Command {
    const chosen = new Set(Array.from({ length: this.#below(4) }, () => this.#one(names)));
    const document: ImportedDocument = {
      mappings: [...chosen].map((name) => ({ name, ...this.#body() })),
      ...(this.#chance(0.2) ? { settings: { defaultTimeoutMs: 4000 + 1000 * this.#below(3) } } : {}),
      ...(this.#chance(0.3) ? { principals: [{ name: this.#one(principals), fingerprint: this.#fingerprint() }] } : {}),
    };
    const owner = this.#chance(0.7) ? { owner: this.#one(owners) } : {};
    return { kind: 'import', document, ...owner, ...(this.#chance(0.6) ? { prune: true } : {}) };
  }
}
