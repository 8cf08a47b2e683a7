import { canonical, isMembers, type Members, mergePatch, undoStep } from './canonical.js';
import type { Change, Command, ImportedDocument } from './commands.js';
import {
  changed,
  checkedSettings,
  checkUnique,
  defaultSettings,
  owned,
  ownerOf,
  Refusal,
  type State,
  shapeFaults,
  wholeMapping,
  withSubject,
} from './rules.js';

/** What a command comes to. `codes`: any of them may be the answer's. */
export type Verdict =
  | { readonly kind: 'accepted'; readonly state: State }
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'refused'; readonly codes: readonly string[] };

/** One gateway's whole history so far. */
export class Oracle {
  /** By version; version 0 is the empty configuration. */
  readonly versions: State[] = [new Map()];
  readonly #quarantined = new Set<string>();
  /** How often each subject changed so far. */
  readonly #counts = new Map<string, number>();

  /** Version 1: the gateway with its default settings. */
  begin(): void {
    this.push(new Map([['gateway', defaultSettings]]));
  }

  get head(): number {
    return this.versions.length - 1;
  }

  get state(): State {
    return this.versions[this.head] as State;
  }

  at(version: number): State {
    return this.versions[version] as State;
  }

  subjectVersion(subject: string): number {
    return this.#counts.get(subject) ?? 0;
  }

  /** Which version a command means that says "so many back". */
  resolve(back: number): number {
    return this.head - (back % this.head);
  }

  /** Puts the state of a subject at a version under quarantine. @returns false when it did not live then */
  quarantine(subject: string, version: number): boolean {
    const value = this.at(version).get(subject);
    if (value !== undefined) this.#quarantined.add(`${subject} ${canonical(value)}`);
    return value !== undefined;
  }

  push(state: State): void {
    for (const subject of changed(this.state, state)) this.#counts.set(subject, this.subjectVersion(subject) + 1);
    this.versions.push(state);
  }

  /** What the command comes to now. `reference`: the version that it names; `stale`: it is based on a version that is not the head. */
  judge(
    command: Command,
    given: { readonly reference?: number; readonly basedOn?: number | undefined; readonly isOverriding?: boolean | undefined },
  ): Verdict {
    try {
      if (given.basedOn !== undefined && given.basedOn !== this.head)
        throw new Refusal(['version_mismatch', 'gateway_stays', ...shapeFaults]);
      const next = this.#next(command, given.reference ?? 0);
      if (bringsBack.has(command.kind) && given.isOverriding !== true) this.#checkQuarantines(next);
      checkUnique(next);
      return changed(this.state, next).length === 0 ? { kind: 'unchanged' } : { kind: 'accepted', state: next };
    } catch (error) {
      if (error instanceof Refusal) return { kind: 'refused', codes: ofMany.has(command.kind) ? anyFault : error.codes };
      throw error;
    }
  }

  #checkQuarantines(next: State): void {
    const held = changed(this.state, next).some((subject) => this.#quarantined.has(`${subject} ${canonical(next.get(subject) ?? null)}`));
    if (held) throw new Refusal(['state_quarantined']);
  }

  #next(command: Command, reference: number): State {
    switch (command.kind) {
      case 'create':
        if (this.state.has(`mapping/${command.name}`)) {
          this.#mapping(command.name, command.body); // what is wrong with the body is found first
          throw new Refusal(['mapping_exists']);
        }
        return this.#with(`mapping/${command.name}`, this.#mapping(command.name, command.body));
      case 'replace':
        return this.#with(
          `mapping/${command.name}`,
          this.#existing(command.name, () => this.#mapping(command.name, command.body)),
        );
      case 'upsert':
        return this.#with(`mapping/${command.name}`, this.#mapping(command.name, command.body));
      case 'patch':
        return this.#with(
          `mapping/${command.name}`,
          this.#existing(command.name, (old) => this.#patched(old, command.body)),
        );
      case 'delete':
        return this.#with(
          `mapping/${command.name}`,
          this.#existing(command.name, () => null),
        );
      case 'putPrincipal':
        return this.#with(`principal/${command.name}`, { name: command.name, fingerprint: command.fingerprint });
      case 'deletePrincipal':
        return this.#with(`principal/${command.name}`, null);
      case 'configure':
        return this.#with('gateway', checkedSettings(mergePatch(this.state.get('gateway'), command.patch) as Members));
      case 'changeset':
        return this.#changeset(command.changes);
      case 'import':
        return this.#import(command.document, command.owner, command.prune === true);
      case 'reimport':
      case 'rollback':
        return this.#restored(reference);
      case 'revert':
        return this.#reverted(reference);
    }
  }

  #with(subject: string, value: Members | null): State {
    return withSubject(this.state, subject, value);
  }

  #existing(name: string, make: (old: Members) => Members | null): Members | null {
    const old = this.state.get(`mapping/${name}`);
    if (old === undefined) throw new Refusal(['mapping_not_found', ...shapeFaults]);
    return make(old);
  }

  #mapping(name: string, body: Members, settings = this.state.get('gateway')): Members {
    return wholeMapping(name, body, settings?.defaultTimeoutMs ?? 5000);
  }

  #patched(old: Members, patch: Members, settings = this.state.get('gateway')): Members {
    return wholeMapping(old.name as string, mergePatch(old, patch) as Members, settings?.defaultTimeoutMs ?? 5000);
  }

  /** All or nothing, in their order: each sees what those before it did, but for `ifVersion`, which is about the state before the set. */
  #changeset(changes: readonly Change[]): State {
    let next = this.state;
    for (const { subject, ifVersion } of changes) {
      const at = this.state.has(subject) ? this.subjectVersion(subject) : 0;
      if (ifVersion !== undefined && ifVersion !== at) throw new Refusal(['version_mismatch']);
    }
    for (const change of changes) next = withSubject(next, change.subject, this.#changedValue(change, next));
    return next;
  }

  #changedValue({ op, subject, value = {} }: Change, state: State): Members | null {
    const old = state.get(subject);
    const settings = state.get('gateway');
    const [kind, name = ''] = subject.split('/');
    if (op !== 'put' && old === undefined) throw new Refusal(anyFault);
    if (op === 'delete') return null;
    if (kind === 'gateway') return checkedSettings(mergePatch(op === 'patch' ? old : defaultSettings, value) as Members);
    if (kind === 'principal') return { name, ...value };
    return op === 'patch' ? this.#patched(old as Members, value, settings) : this.#mapping(name, value, settings);
  }

  /** What a section says is put; with `prune` what a section that is there does not say goes: everything, or only the owner's mappings. */
  #import(document: ImportedDocument, owner: string | undefined, prune: boolean): State {
    let next = this.state;
    if (document.settings) next = withSubject(next, 'gateway', checkedSettings({ ...defaultSettings, ...document.settings }));
    const settings = next.get('gateway');
    const said = new Set<string>();
    for (const { name, ...body } of document.mappings ?? []) {
      const subject = `mapping/${name}`;
      const present = ownerOf(this.state.get(subject));
      if (owner !== undefined && present !== undefined && present !== owner) throw new Refusal(anyFault);
      said.add(subject);
      next = withSubject(next, subject, this.#mapping(String(name), owned(body, owner), settings));
    }
    for (const principal of document.principals ?? []) {
      said.add(`principal/${principal.name}`);
      next = withSubject(next, `principal/${principal.name}`, principal);
    }
    const isPruned = (subject: string, value: Members) => {
      if (subject.startsWith('mapping/')) return document.mappings !== undefined && (owner === undefined || ownerOf(value) === owner);
      return subject.startsWith('principal/') && document.principals !== undefined && owner === undefined;
    };
    for (const [subject, value] of prune ? this.state : [])
      if (!said.has(subject) && isPruned(subject, value)) next = withSubject(next, subject, null);
    return next;
  }

  #restored(version: number): State {
    return this.at(version);
  }

  /** What the version did goes back, member by member, unless it has become something else since; nothing goes back when anything cannot. */
  #reverted(version: number): State {
    const [before, after] = [this.at(version - 1), this.at(version)];
    if (before.size === 0) throw new Refusal(['gateway_stays']);
    const conflicts: string[] = [];
    let next = this.state;
    for (const subject of changed(before, after)) {
      const found: string[] = [];
      const value = undoStep(before.get(subject), after.get(subject), this.state.get(subject), isMap, found);
      next = withSubject(next, subject, (value ?? null) as Members | null);
      if (isMembers(value) && subject.startsWith('mapping/') && (value.prefix === null) === (value.path === null)) found.push('/prefix');
      conflicts.push(...found);
    }
    if (conflicts.length > 0) throw new Refusal(['revert_conflict']);
    return next;
  }
}

/** A state has members, and two of a mapping's are maps whose entries have lives of their own. */
const isMap = (path: string) => ['', '/labels', '/headers'].includes(path);

/** What may bring back a former state without its author having seen it. */
const bringsBack: ReadonlySet<Command['kind']> = new Set(['changeset', 'import', 'reimport', 'rollback', 'revert'] as const);

/** A set of changes may be refused for several reasons at once; which of them names the refusal is not the oracle's business. */
const ofMany: ReadonlySet<Command['kind']> = new Set(['changeset', 'import', 'reimport'] as const);
const anyFault = ['*'];
