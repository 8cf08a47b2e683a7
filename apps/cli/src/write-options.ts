import { type Command, InvalidArgumentError } from 'commander';

import type { QueryValue } from './api-client.js';
import { confirmWithin, version } from './option-values.js';
import { type Change, changesText, countChanges, warningsText } from './output/changes.js';
import type { Output } from './output/output.js';
import { printable } from './output/printable.js';

/** What every write of a gateway's configuration can be told. */
export interface WriteFlags {
  readonly reason?: string;
  readonly confirmWithin?: string;
  readonly dryRun?: boolean;
  readonly ifVersion?: number;
  readonly overrideRouteTests?: boolean;
}

/** The API's limit; said here so that a mistake costs no round trip. */
const LONGEST_REASON = 1000;

export function reason(text: string): string {
  if (text.trim() === '') throw new InvalidArgumentError('It must say something.');
  if (text.length > LONGEST_REASON) throw new InvalidArgumentError(`It must have at most ${LONGEST_REASON} characters.`);
  return text;
}

/** `--reason`, which must be given for what undoes something. */
export function addReason(command: Command, { required }: { readonly required: boolean }): Command {
  const [flags, text] = ['--reason <text>', 'why; it is kept in the record'] as const;
  return required ? command.requiredOption(flags, text, reason) : command.option(flags, text, reason);
}

export function addConfirmWithin(command: Command): Command {
  return command.option(
    '--confirm-within <time>',
    'undo it by itself unless chancery confirm comes within this time: 90s, 5m, 1h',
    confirmWithin,
  );
}

export function addDryRun(command: Command): Command {
  return command.option('--dry-run', 'show what would change, and change nothing', false);
}

export function addOverrideRouteTests(command: Command): Command {
  return command.option('--override-route-tests', 'do it although route tests fail by it (needs --reason)', false);
}

/** `--if-version`: of the gateway as a whole, or with `of` of the one thing that is written. */
export function addIfVersion(command: Command, of = 'the gateway'): Command {
  return command.option('--if-version <n>', `only if ${of} is still at this version (exit 5 if not)`, version);
}

/** The parameters of the address that say the same. */
export function writeQuery({ reason: why, confirmWithin: within, dryRun, overrideRouteTests }: WriteFlags): Record<string, QueryValue> {
  return { reason: why, confirmWithin: within, dryRun: flag(dryRun), overrideRouteTests: flag(overrideRouteTests) };
}

/** A flag that is not given is not said. */
export function flag(given: boolean | undefined): true | undefined {
  return given === true ? true : undefined;
}

/** The tag of a gateway as a whole. */
export function gatewayTag(version: number): string {
  return `"g${version}"`;
}

export interface Plan {
  readonly dryRun: true;
  readonly basedOn: number;
  readonly changes: readonly Change[];
  readonly warnings?: readonly { code: string; message: string; pointer?: string }[];
  readonly routeTests?: RouteTestVerdict;
  /** Of a rollback with certificates: those that stay as they are. */
  readonly exceptions?: readonly { readonly subject: string; readonly message: string }[];
}

/** What the route tests said of it. */
interface RouteTestVerdict {
  readonly passed: number;
  readonly failed: readonly { readonly message: string }[];
  readonly failedCount: number;
}

/** What a dry run says, for people. */
export function planText(plan: Plan, { colours }: Output): string {
  const head = colours.faint(`on version ${plan.basedOn}: ${countChanges(plan.changes)}`);
  const left = (plan.exceptions ?? []).map(({ subject, message }) => colours.doubtful(`= ${printable(subject)}: ${printable(message)}\n`));
  return `${head}\n${changesText(plan.changes, colours)}${left.join('')}${warningsText(plan.warnings ?? [], colours)}${routeTestsText(plan.routeTests)}`;
}

function routeTestsText(verdict: RouteTestVerdict | undefined): string {
  if (verdict === undefined || verdict.passed + verdict.failedCount === 0) return '';
  const head = `route tests: ${verdict.passed} passed, ${verdict.failedCount} failed\n`;
  return `${head}${verdict.failed.map(({ message }) => `  failed: ${printable(message)}\n`).join('')}`;
}

/** What to do after a version was made: wait for it, and confirm it when it must be. */
export function afterwards(version: number, within: string | undefined): string {
  const confirm = within === undefined ? '' : `It is undone by itself unless this comes within ${within}: chancery confirm ${version}\n`;
  return `${confirm}Is it live yet? chancery wait --version ${version}\n`;
}
