import { Inject } from '@nestjs/common';
import { type IQueryHandler, Query, QueryBus, QueryHandler } from '@nestjs/cqrs';

import { FindKnownServices } from '#features/discovery/find-known-services.js';
import type { GatewaySettings } from '#features/gateway/gateway.js';
import { ReadGateway } from '#features/gateway/list-gateways.js';
import type { Db } from '#platform/database/database.js';
import type { Outcome } from '#platform/eventstore/event-store.js';
import { readOthers } from '#platform/eventstore/read-changes.js';
import { listSubjects } from '#platform/eventstore/read-log.js';
import { DB } from '#platform/http/tokens.js';
import type { JsonObject } from '#platform/kernel/json.js';
import { eachInTurns, Turn } from '#platform/kernel/turns.js';

import { fromJson, type MappingState } from './mapping-state.js';
import { makesUnreachable, mappingWarnings, shadowed, type Warning } from './mapping-warnings.js';
import { Reachability } from './reachability.js';
import { readService, type ServiceReference } from './service-reference.js';
import { isFault } from './text.js';

/** More warnings than this nobody reads. */
const MOST_TOLD = 50;
/**
 * With more mappings than this it is not said whether one makes another unreachable: reading them all takes longer than the write. A write of a
 * large set may take longer, in proportion; and whoever plans has time.
 */
const COMPARED = { least: 1_000, timesSet: 20, most: 20_000 } as const;

/** What a set of changes does to one mapping; null where it does not live. */
export interface MappingInSet {
  readonly name: string;
  readonly before: JsonObject | null;
  readonly after: JsonObject | null;
  /** Where the request says so; the warnings' pointers continue it. */
  readonly pointer: string;
}

/**
 * What is worth saying of mappings that are changed together, judged by the state after all of the changes. At most 50, the gravest first: mappings
 * that no request reaches any more, because of a change or by their own; then the rest. `settings` are those that the set leaves behind; undefined: the present ones.
 */
export class FindSetWarnings extends Query<Warning[]> {
  constructor(
    readonly gateway: string,
    readonly mappings: readonly MappingInSet[],
    readonly options: {
      readonly settings?: GatewaySettings | undefined;
      /** The version that the set made; undefined for a plan. */
      readonly madeVersion?: number | undefined;
    },
  ) {
    super();
  }

  /** Of what a command over several subjects has done, or would do; `pointerOf` says where in the request, or the answer, each subject stands. */
  static async of(gateway: string, outcome: Outcome, pointerOf: ReadonlyMap<string, string>): Promise<FindSetWarnings> {
    const settings = outcome.events.find(({ subject }) => subject === 'gateway')?.state as unknown as GatewaySettings | undefined;
    const mappings: MappingInSet[] = [];
    await eachInTurns(outcome.events, ({ subject, state }) => {
      if (!subject.startsWith('mapping/')) return;
      const before = outcome.before.get(subject)?.state ?? null;
      mappings.push({ name: subject.slice('mapping/'.length), before, after: state, pointer: pointerOf.get(subject) ?? '' });
    });
    return new FindSetWarnings(gateway, mappings, { settings, madeVersion: outcome.dryRun ? undefined : outcome.version });
  }
}

@QueryHandler(FindSetWarnings)
export class FindSetWarningsHandler implements IQueryHandler<FindSetWarnings> {
  constructor(
    private readonly queries: QueryBus,
    @Inject(DB) private readonly db: Db,
  ) {}

  async execute({ gateway, mappings, options: { settings, madeVersion } }: FindSetWarnings): Promise<Warning[]> {
    const set = new Map<string, MappingInSet>();
    await eachInTurns(mappings, (mapping) => set.set(mapping.name, mapping));
    const live = await livingOf(mappings);
    if (live.length === 0) return [];
    const most =
      madeVersion === undefined ? COMPARED.most : Math.min(COMPARED.most, Math.max(COMPARED.least, COMPARED.timesSet * set.size));
    const [present, others] = await Promise.all([settings ?? this.settings(gateway), this.others(gateway, set, { most, madeVersion })]);
    const isKnown = await this.known(gateway, present, live);
    const windowMs = (present.parentShutdownTimeS - present.drainTimeS) * 1000;
    const table = others === undefined ? undefined : new Reachability([...others, ...live.map(({ state }) => state)]);
    const turn = new Turn();
    if (table !== undefined) await turn.next();
    const unreachable = others === undefined || table === undefined ? [] : await newlyUnreachable(set, live, others, table);
    const [grave, rest]: [Warning[], Warning[]] = [unreachable, []];
    for (const [i, { state, pointer }] of live.entries()) {
      if (i % SLICE === SLICE - 1 && turn.isOver) await turn.next();
      if (table !== undefined) grave.push(...below(pointer, [...shadowed(state, table)]));
      // Said of a timeout that somebody chose for this mapping: the gateway's default is another's choice, and its warning would be on every mapping.
      rest.push(
        ...below(pointer, mappingWarnings(state, { isKnown, ...(state.timeoutMs === present.defaultTimeoutMs ? {} : { windowMs }) })),
      );
    }
    return told([...grave, ...rest], others === undefined ? most : undefined);
  }

  private async settings(gateway: string): Promise<GatewaySettings> {
    return (await this.queries.execute(new ReadGateway(gateway))).settings;
  }

  /** The mappings that the set leaves alone; undefined when there are too many to compare. */
  private async others(
    gateway: string,
    set: ReadonlyMap<string, unknown>,
    { most, madeVersion }: { readonly most: number; readonly madeVersion: number | undefined },
  ): Promise<MappingState[] | undefined> {
    if (set.size > most) return undefined;
    const kind = { stream: `gateway/${gateway}`, kind: 'mapping', limit: most + 1 };
    // What the set made need not be read again; a plan has made nothing.
    const records =
      madeVersion === undefined ? await listSubjects(this.db, kind) : await readOthers(this.db, { ...kind, madeBy: madeVersion });
    if (records === undefined || records.length > most) return undefined;
    return records
      .map(({ subject, state }) => fromJson(subject.slice('mapping/'.length), state ?? {}))
      .filter(({ name }) => !set.has(name));
  }

  private async known(gateway: string, settings: GatewaySettings, live: Live): Promise<(service: ServiceReference) => boolean | undefined> {
    const services = new Map<string, ServiceReference>();
    const turn = new Turn();
    for (const [i, { state }] of live.entries()) {
      if (i % SLICE === SLICE - 1 && turn.isOver) await turn.next();
      const { service } = state;
      const reference = readService(service);
      if (!isFault(reference) && reference.ipVersion === 0 && !Object.hasOwn(settings.services, reference.name))
        services.set(`${reference.host}:${reference.port}`, reference);
    }
    const answers = services.size === 0 ? [] : await this.queries.execute(new FindKnownServices(gateway, [...services.values()]));
    const byPlace = new Map([...services.keys()].map((place, i) => [place, answers[i]]));
    return ({ host, port }) => (byPlace.has(`${host}:${port}`) ? byPlace.get(`${host}:${port}`) : true);
  }
}

/** How many are looked at before the next look at the clock: less than a millisecond. */
const SLICE = 50;

type Live = readonly { readonly state: MappingState; readonly pointer: string }[];

async function livingOf(mappings: readonly MappingInSet[]): Promise<Live> {
  const live: { state: MappingState; pointer: string }[] = [];
  await eachInTurns(mappings, ({ name, after, pointer }) => {
    if (after !== null) live.push({ state: fromJson(name, after), pointer });
  });
  return live;
}

/** The mappings outside of the set that a request could reach before it and cannot reach after it, because of one in it. */
async function newlyUnreachable(
  set: ReadonlyMap<string, MappingInSet>,
  live: Live,
  others: readonly MappingState[],
  after: Reachability,
): Promise<Warning[]> {
  if (others.length === 0) return [];
  const before = new Reachability([
    ...others,
    ...[...set.values()].flatMap(({ name, before: state }) => (state === null ? [] : [fromJson(name, state)])),
  ]);
  const inSet = new Map(live.map((one) => [one.state.name, one]));
  const warnings: Warning[] = [];
  const turn = new Turn();
  await turn.next();
  for (const [i, { name }] of others.entries()) {
    if (i % SLICE === SLICE - 1 && turn.isOver) await turn.next();
    const cause = inSet.get(after.coveredBy(name) ?? '');
    if (cause !== undefined && before.coveredBy(name) === undefined)
      warnings.push(...below(cause.pointer, [makesUnreachable(cause.state, name)]));
  }
  return warnings;
}

function below(pointer: string, warnings: readonly Warning[]): Warning[] {
  return warnings.map((warning) => ({ ...warning, pointer: pointer + warning.pointer }));
}

function told(warnings: readonly Warning[], passed: number | undefined): Warning[] {
  const notes: Warning[] = [];
  const left = warnings.length - MOST_TOLD;
  if (left > 0)
    notes.push({ code: 'warnings_cut', message: `There are ${left} more warnings; the gravest ${MOST_TOLD} are told.`, pointer: '' });
  if (passed !== undefined) {
    const way = passed < COMPARED.most ? ' A dry run of the same looks further.' : '';
    const message = `This gateway has more than ${passed} mappings, so it was not looked for mappings that no request can reach.${way}`;
    notes.push({ code: 'reachability_unknown', message, pointer: '' });
  }
  return [...warnings.slice(0, MOST_TOLD), ...notes];
}
