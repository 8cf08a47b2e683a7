/** Envoy's words for the part of a route that a member of a mapping becomes; the first that fits counts. */
const fields: readonly (readonly [RegExp, string])[] = [
  [/rewrite/i, 'rewrite'],
  [/Headers\[|header/i, 'headers'],
  [/Timeout/, 'timeoutMs'],
  [/Domains|domain/, 'host'],
  [/\b(?:Safe)?[Rr]egex|PathSpecifier|\bPrefix\b|\bPath\b|^missing |^invalid (?:escape|character class|repetition)/, 'prefix'],
  [/cluster|LoadAssignment|load_assignment|endpoint|address/i, 'service'],
];

/** The member of a mapping that Envoy's reason is about; undefined where it cannot be told. */
export function fieldOfReason(reason: string): string | undefined {
  return fields.find(([words]) => words.test(reason))?.[1];
}
