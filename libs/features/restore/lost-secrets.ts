import type { SubjectKinds } from '#features/history/subject-kind.js';
import type { Db } from '#platform/database/database.js';
import type { JsonObject } from '#platform/kernel/json.js';
import { eachInTurns } from '#platform/kernel/turns.js';
import { presentSecrets } from '#platform/vault/vault.js';

/** The ids of the secrets that these states (in today's shape) rest on and that are not kept any more. */
export async function findLostSecrets(
  { db, kinds }: { readonly db: Db; readonly kinds: SubjectKinds },
  states: Iterable<{ readonly subject: string; readonly state: JsonObject | null }>,
): Promise<ReadonlySet<string>> {
  const ids: string[] = [];
  await eachInTurns(states, ({ subject, state }) => {
    const id = state === null ? undefined : kinds.of(subject)?.secretOf?.(state);
    if (id !== undefined) ids.push(id);
  });
  if (ids.length === 0) return new Set();
  const present = await presentSecrets(db, ids);
  return new Set(ids.filter((id) => !present.has(id)));
}
