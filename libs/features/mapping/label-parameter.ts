import { z } from 'zod';

const label = z.string().regex(/^[^=]+=.*$/s, 'must be key=value');

/** `?label=team=a&label=tier=1`: all must fit. */
export const labelParameter = z
  .union([label.transform((one) => [one]), z.array(label).max(32)])
  .optional()
  .describe('key=value; may be repeated, and all must fit.');

/** The labels that were asked for, by key. */
export function labelsOf(pairs: readonly string[] | undefined): Record<string, string> | undefined {
  if (pairs === undefined) return undefined;
  return Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]));
}
