import { randomUUID } from 'node:crypto';

import type { Change, Command, Step } from './commands.js';
import { Oracle, type Verdict } from './oracle.js';
import type { Given, Product, Result } from './product.js';

/** A command with the versions that it names, settled. */
interface Settled extends Given {
  readonly command: Command;
}

type Accepted = Result & { readonly kind: 'accepted' };

export interface Rollback {
  readonly version: number;
  readonly to: number;
  readonly result: Accepted;
}

/** What became of one history: the oracle's versions, and where the two disagreed. */
export interface Played {
  readonly gateway: string;
  readonly oracle: Oracle;
  readonly rollbacks: readonly Rollback[];
  readonly counts: Readonly<Record<string, number>>;
  readonly disagreement?: string;
}

/** Plays a history against the product and the oracle, up to its end or to the first disagreement. Commands of one step go to the products in turn. */
export async function play(gateway: string, steps: readonly Step[], products: readonly [Product, ...Product[]]): Promise<Played> {
  const oracle = new Oracle();
  const rollbacks: Rollback[] = [];
  const counts: Record<string, number> = {};
  await products[0].createGateway(gateway);
  oracle.begin();
  for (const [i, step] of steps.entries()) {
    if (step.quarantining) {
      const { subject, at } = step.quarantining;
      const version = oracle.resolve(at.back);
      const [is, expected] = [await products[0].quarantine(gateway, subject, version), oracle.quarantine(subject, version)];
      if (is !== expected)
        return { gateway, oracle, rollbacks, counts, disagreement: `step ${i}: quarantine of ${subject} at ${version}: ${is}` };
    }
    const settled = step.commands.flatMap((command) => settle(command, oracle));
    const results = await Promise.all(
      settled.map(({ command, ...given }, j) => (products[j % products.length] ?? products[0]).run(gateway, command, given)),
    );
    for (const [j, { command }] of settled.entries()) {
      const key = `${command.kind} ${results[j]?.kind}`;
      counts[key] = (counts[key] ?? 0) + 1;
    }
    const disagreement = compare(oracle, settled, results, rollbacks);
    if (disagreement) return { gateway, oracle, rollbacks, counts, disagreement: `step ${i}: ${disagreement}` };
  }
  return { gateway, oracle, rollbacks, counts };
}

function settle(command: Step['commands'][number], oracle: Oracle): Settled[] {
  const { basedOn, isTwice, isOverriding, ...rest } = command;
  const back = 'to' in command ? command.to.back : 'of' in command ? command.of.back : undefined;
  const settled: Settled = {
    command: rest.kind === 'changeset' ? { ...rest, changes: rest.changes.map((change) => dated(change, oracle)) } : rest,
    isOverriding,
    ...(back === undefined ? {} : { reference: oracle.resolve(back) }),
    ...(basedOn === undefined ? {} : { basedOn: basedOn === 'head' ? oracle.head : Math.max(1, oracle.head - 1) }),
  };
  if (!isTwice) return [settled];
  const key = randomUUID();
  return [
    { ...settled, key },
    { ...settled, key },
  ];
}

function dated({ condition, ...change }: Change, oracle: Oracle): Change {
  if (condition === undefined) return change;
  const version = oracle.state.has(change.subject) ? oracle.subjectVersion(change.subject) : 0;
  return { ...change, ifVersion: condition === 'right' ? version : version + 1 };
}

/** What was answered to a command; `before`: its twin under the same key made this version, so it was answered before that. */
interface Answered extends Settled {
  readonly result: Result;
  readonly before?: number;
}

/** Of a command that was sent twice and recorded once both are told the same version: one of them stays. */
function withoutReplays(all: readonly Answered[]): Answered[] {
  const made = new Map<string, number>();
  for (const { key, result } of all) if (key !== undefined && result.kind === 'accepted') made.set(key, result.version);
  const seen = new Set<string>();
  return all.flatMap((one): Answered[] => {
    const version = made.get(one.key ?? '');
    if (one.key === undefined || version === undefined) return [one];
    if (one.result.kind !== 'accepted') return [{ ...one, before: version }];
    const place = `${one.key} ${one.result.version}`; // two versions under one key are both kept, and the second is found out
    return seen.has(place) ? [] : [seen.add(place) && one];
  });
}

/**
 * Takes the order of what was accepted from the log (the versions), lets the oracle repeat it, and looks for a place in that order at which each of the
 * others could have been answered as it was.
 */
function compare(oracle: Oracle, settled: readonly Settled[], results: readonly Result[], rollbacks: Rollback[]): string | undefined {
  const all = withoutReplays(settled.map((one, i) => ({ ...one, result: results[i] as Result })));
  const accepted = all.flatMap((one) => (one.result.kind === 'accepted' ? [{ ...one, result: one.result }] : []));
  accepted.sort((a, b) => a.result.version - b.result.version);
  const keys = accepted.flatMap(({ key }) => key ?? []);
  if (new Set(keys).size < keys.length)
    return `one Idempotency-Key made two versions: ${accepted.map(({ command }) => JSON.stringify(command))}`;
  const waiting = new Map(all.filter(({ result }) => result.kind !== 'accepted').map((one) => [one, [] as Verdict[]]));
  const judgeWaiting = () => {
    for (const [one, verdicts] of waiting) {
      if (one.before !== undefined && oracle.head >= one.before) continue;
      const verdict = oracle.judge(one.command, one);
      if (agree(verdict, one.result)) waiting.delete(one);
      else verdicts.push(verdict);
    }
  };
  judgeWaiting();
  for (const { command, result, ...given } of accepted) {
    if (result.version !== oracle.head + 1) return `${JSON.stringify(command)} made version ${result.version} after ${oracle.head}`;
    const verdict = oracle.judge(command, given);
    if (verdict.kind !== 'accepted') return `${told(command, given)} was accepted; the oracle says ${JSON.stringify(verdict)}`;
    oracle.push(verdict.state);
    if (command.kind === 'rollback') rollbacks.push({ version: result.version, to: given.reference ?? 0, result });
    judgeWaiting();
  }
  const [unexplained] = waiting;
  if (!unexplained) return undefined;
  const [{ command, result, ...given }, verdicts] = unexplained;
  return `${told(command, given)} was ${JSON.stringify(result)}; the oracle says ${verdicts.map((verdict) => brief(verdict)).join(', then ')}`;
}

function agree(verdict: Verdict, result: Result): boolean {
  if (verdict.kind !== 'refused' || result.kind !== 'refused') return verdict.kind === result.kind;
  return verdict.codes.includes(result.code) || verdict.codes.includes('*');
}

function told(command: Command, given: object): string {
  return `${JSON.stringify(command)} ${JSON.stringify(given)}`;
}

function brief(verdict: Verdict): string {
  return verdict.kind === 'refused' ? `refused (${verdict.codes.join(', ')})` : verdict.kind;
}
