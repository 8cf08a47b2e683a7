import { InvalidArgumentError } from 'commander';

/** How options are read. Each throws commander's InvalidArgumentError, which names the option and ends with status 2. */

const UNITS_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** `250ms`, `90s`, `5m`, `1h`, `7d`, in milliseconds. */
export function duration(text: string): number {
  const [, amount, unit] = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text.trim()) ?? [];
  if (unit === undefined) throw new InvalidArgumentError('It must be a number with ms, s, m, h or d: 90s, 5m, 1h.');
  return Number(amount) * UNITS_MS[unit as keyof typeof UNITS_MS];
}

const CONFIRM_LEAST_MS = 1_000;
const CONFIRM_MOST_MS = 24 * 3_600_000;

/** A time to confirm in, as the API takes it. It is checked here too, so that a mistake costs no round trip. */
export function confirmWithin(text: string): string {
  const trimmed = text.trim();
  const ms = duration(trimmed);
  if (ms < CONFIRM_LEAST_MS || ms > CONFIRM_MOST_MS || !/^\d{1,6}(?:ms|s|m|h)$/.test(trimmed)) {
    throw new InvalidArgumentError('It must be from 1s to 24h: 90s, 5m, 1h.');
  }
  return trimmed;
}

/** A version: a whole number from 1. */
export function version(text: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text)) throw new InvalidArgumentError('It must be a version: a whole number from 1.');
  return Number(text);
}

/** As `version`, where 0 means the empty configuration before the first one. */
export function versionOrZero(text: string): number {
  return text === '0' ? 0 : version(text);
}

export function count(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('It must be a whole number from 1.');
  return Number(text);
}

export function wholeNumber(text: string): number {
  if (!/^-?\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
}

/** A moment: ISO 8601, or how long ago: `2h`, `7d`. As ISO 8601 in UTC. */
export function moment(text: string): string {
  if (/^\d{1,9}(ms|s|m|h|d)$/.test(text.trim())) return new Date(Date.now() - duration(text)).toISOString();
  const at = /^\d{4}-\d{2}-\d{2}(?:[T ].*)?$/.test(text) ? new Date(text) : undefined;
  if (at === undefined || Number.isNaN(at.getTime())) {
    throw new InvalidArgumentError('It must be a time (2026-11-25T03:00:00Z, 2026-11-25) or how long ago (2h, 7d).');
  }
  return at.toISOString();
}

/** Collects an option that may be given several times. */
export function several(text: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), text];
}

/** Collects `key=value` pairs. */
export function pairs(text: string, before: Readonly<Record<string, string>> | undefined): Readonly<Record<string, string>> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('It must be key=value.');
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}

/** `A..B`, `A..` (to the newest) or `N` (what N changed). */
export interface VersionRange {
  readonly from: number;
  /** undefined: the newest. */
  readonly to: number | undefined;
}

export function versionRange(text: string): VersionRange {
  const [, from, to] = /^(\d+)\.\.(\d*)$/.exec(text) ?? [];
  if (from !== undefined) return { from: versionOrZero(from), to: to === undefined || to === '' ? undefined : versionOrZero(to) };
  const only = version(text);
  return { from: only - 1, to: only };
}
