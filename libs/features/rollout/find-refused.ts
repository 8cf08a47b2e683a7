/** What Envoy said of a trial. */
export interface Verdict {
  readonly ok: boolean;
  readonly message: string;
}

export interface Refused {
  readonly name: string;
  /** Envoy's words about the trial in which this one made the difference. */
  readonly reason: string;
}

/**
 * Finds the objects that Envoy refuses, by trials with some of them: a smallest set in the sense that each one found makes the difference,
 * given those before it. A trial of the first k objects is refused from some k on; that k is found by halving; its object is
 * taken out, and so on until the rest passes. Of two that are only refused together the later one is found, so the order of
 * `names` says who is blamed: oldest first.
 *
 * @param hints names that a former message points at: tried first, each by taking it out alone
 * @param accepts a trial with exactly these objects
 * @returns the refused ones; undefined when nothing can be said: even without any object it is refused, or the budget is spent
 */
export async function findRefused(
  names: readonly string[],
  hints: readonly string[],
  accepts: (names: readonly string[]) => Promise<Verdict>,
  budget: { readonly trials: number },
): Promise<Refused[] | undefined> {
  let trials = 0;
  const attempt = async (tried: readonly string[]): Promise<Verdict | undefined> => {
    trials += 1;
    return trials > budget.trials ? undefined : accepts(tried);
  };
  const found: Refused[] = [];
  let rest = names;
  let whole = await attempt(rest);
  for (const hint of hints) {
    if (whole === undefined || whole.ok || !rest.includes(hint)) continue;
    const without = rest.filter((name) => name !== hint);
    const verdict = await attempt(without);
    if (verdict === undefined) continue;
    // Others may be refused as well. That Envoy says something else without it proves nothing: places in its words move with what stands before them.
    const alone = verdict.ok ? whole : await refusedAlone(hint, attempt);
    if (alone === undefined) continue;
    found.push({ name: hint, reason: alone.message });
    rest = without;
    whole = verdict;
  }
  while (whole !== undefined && !whole.ok) {
    const culprit = await firstRefused(rest, whole, attempt);
    if (culprit === undefined) return undefined;
    found.push(culprit);
    rest = rest.filter((name) => name !== culprit.name);
    whole = await attempt(rest);
  }
  return whole === undefined ? undefined : found;
}

/** What Envoy says of one object with nothing beside it; undefined when it takes it, or takes not even nothing. */
async function refusedAlone(
  name: string,
  attempt: (names: readonly string[]) => Promise<Verdict | undefined>,
): Promise<Verdict | undefined> {
  const alone = await attempt([name]);
  if (alone === undefined || alone.ok) return undefined;
  return (await attempt([]))?.ok === true ? alone : undefined;
}

async function firstRefused(
  names: readonly string[],
  whole: Verdict,
  attempt: (names: readonly string[]) => Promise<Verdict | undefined>,
): Promise<Refused | undefined> {
  let passes = 0;
  let refused = names.length;
  let reason = whole.message;
  const nothing = await attempt([]);
  if (nothing === undefined || !nothing.ok) return undefined;
  while (refused - passes > 1) {
    const middle = Math.floor((passes + refused) / 2);
    const verdict = await attempt(names.slice(0, middle));
    if (verdict === undefined) return undefined;
    if (verdict.ok) passes = middle;
    else {
      refused = middle;
      reason = verdict.message;
    }
  }
  const name = names[refused - 1];
  return name === undefined ? undefined : { name, reason };
}
