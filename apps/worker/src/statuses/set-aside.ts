import { bootstrapBytes } from '#features/rollout/compile.js';
import { findRefused, type Refused, type Verdict } from '#features/rollout/find-refused.js';
import { fieldOfReason } from '#features/rollout/refused-field.js';
import { notifySetAside, readStatusRows, replaceStatusRows, type StatusRow } from '#features/rollout/set-aside.table.js';
import type { Db } from '#platform/database/database.js';
import type { Log } from '#platform/log/log.js';
import type { Gateways } from '../fold/gateways.js';
import type { LaneSource } from '../fold/lane-source.js';
import type { Renderer, SetAsideMap } from '../hot-restart/renderer.js';
import type { TargetSession } from '../targets/target-session.js';
import { ENVOY_REFUSED as code } from './set-asides.js';

export interface SetAsideContext {
  readonly db: Db;
  readonly gateways: Gateways;
  readonly renderer: Renderer;
  readonly log: Log;
  readonly validateDeadlineMs: number;
}

const mostTrials = 300;

/**
 * After Envoy refused a whole configuration: finds the mappings that it refuses, by trials on the node, and sets them aside
 * as they stand now. The others go live; these answer 503, or nothing where even that route is refused.
 * False when no mapping was found to be the cause.
 */
export async function setAsideRefused(context: SetAsideContext, session: TargetSession, message: string): Promise<boolean> {
  const fold = context.gateways.fold(session.gateway);
  if (fold === undefined) return false;
  return setAsideAmong(context, session, { source: fold, candidates: fold.mappings.keys(), message });
}

/** What is searched for the cause of a refusal. */
export interface Search {
  readonly source: LaneSource;
  /** Only these can be the cause. */
  readonly candidates: Iterable<string>;
  /** What Envoy said. */
  readonly message: string;
}

/** The same, where it is known which mappings can be the cause. Trials have those alone. */
export async function setAsideAmong(context: SetAsideContext, session: TargetSession, search: Search): Promise<boolean> {
  const { source, message } = search;
  const before = await readStatusRows(context.db, session.gateway);
  const among = new Set(search.candidates);
  const aside = new Map(
    before
      .filter((row) => row.code === code && among.has(row.mapping) && source.mappings.get(row.mapping)?.digest === row.digest)
      .map((row) => [row.mapping, { code, drop: row.dropped }]),
  );
  const trial = new Trial(context, session, source, aside);
  const names = [...among]
    .filter((name) => !aside.has(name) && source.mappings.has(name))
    .sort((a, b) => (source.mappings.get(a)?.streamVersion ?? 0) - (source.mappings.get(b)?.streamVersion ?? 0));
  const refused = await findRefused(names, hintsIn(message, trial, names), (tried) => trial.accepts(tried), { trials: mostTrials });
  if (refused === undefined || refused.length === 0) return false;
  const dropped = await trial.needDropping(refused, names);
  await writeSetAside(
    context,
    source,
    refused.map(({ name, reason }) => ({ name, code, reason: explained(reason || message), dropped: dropped.has(name) })),
  );
  return true;
}

/** Sets these mappings aside as they stand now. */
export async function writeSetAside(
  context: Pick<SetAsideContext, 'db' | 'log'>,
  source: LaneSource,
  mappings: readonly { readonly name: string; readonly code: string; readonly reason: string; readonly dropped: boolean }[],
): Promise<void> {
  const rows = mappings.map(({ name, code, reason, dropped }): StatusRow => {
    const digest = source.mappings.get(name)?.digest ?? '';
    return { mapping: name, state: 'set_aside', digest, code, reason, dropped };
  });
  const taken = new Set(rows.map((row) => row.mapping));
  const before = await readStatusRows(context.db, source.gateway);
  const others = before.filter((row) => !(row.state === 'set_aside' && taken.has(row.mapping)));
  await replaceStatusRows(context.db, source.gateway, before, [...others, ...rows]);
  await notifySetAside(context.db, source.gateway);
  context.log.warn({ gateway: source.gateway, mappings: [...taken] }, 'set mappings aside');
}

/** One search on one target, over the gateway as it stood when the search began. */
class Trial {
  readonly #context: SetAsideContext;
  readonly #session: TargetSession;
  readonly #source: LaneSource;

  constructor(
    context: SetAsideContext,
    session: TargetSession,
    source: LaneSource,
    readonly aside: SetAsideMap,
  ) {
    this.#context = context;
    this.#session = session;
    this.#source = source;
  }

  /** A trial with these mappings and those that were aside before. */
  accepts(names: readonly string[]): Promise<Verdict> {
    return this.#validate(this.aside, new Set([...names, ...this.aside.keys()]));
  }

  /** Which of the refused ones cannot even have a route that answers 503. Usually none: one trial says so. */
  async needDropping(refused: readonly Refused[], all: readonly string[]): Promise<Set<string>> {
    const only = new Set([...all, ...this.aside.keys()]);
    const bad = refused.map(({ name }) => name);
    const asideWith = (dropped: ReadonlySet<string>): SetAsideMap =>
      new Map([...this.aside, ...bad.map((name) => [name, { code, drop: dropped.has(name) }] as const)]);
    const dropped = new Set<string>();
    if ((await this.#validate(asideWith(dropped), only)).ok) return dropped;
    for (const name of bad) dropped.add(name);
    for (const name of bad.slice(0, mostTrials)) {
      dropped.delete(name);
      if (!(await this.#validate(asideWith(dropped), only)).ok) dropped.add(name);
    }
    return dropped;
  }

  clusterOf(names: readonly string[]): ReadonlyMap<string, string> {
    return this.#context.renderer.compileWith(this.#session, this.#source, this.aside, new Set(names)).clusterOf;
  }

  async #validate(aside: SetAsideMap, only: ReadonlySet<string>): Promise<Verdict> {
    const rendered = this.#context.renderer.compileWith(this.#session, this.#source, aside, only);
    const bytes = bootstrapBytes(rendered, { releaseId: 'trial', body: 'trial' });
    const { ok, message } = await this.#session.delivery.validate(bytes, this.#context.validateDeadlineMs);
    return { ok, message };
  }
}

/** Envoy's words, and before them the member of the mapping that they are about, where that can be told. */
function explained(reason: string): string {
  const field = fieldOfReason(reason);
  return (field === undefined ? reason : `${field}: ${reason}`).slice(0, 300);
}

/** Mappings that Envoy's message names, by their own name or their cluster's; only when it names few. */
function hintsIn(message: string, trial: Trial, names: readonly string[]): string[] {
  const words = new Set(message.split(/[^A-Za-z0-9._:/-]+/).flatMap((word) => [word, word.replace(/[.:]+$/, '')]));
  const clusters = trial.clusterOf(names);
  const named = names.filter((name) => words.has(name) || words.has(clusters.get(name) ?? '\n'));
  return named.length <= 3 ? named : [];
}
