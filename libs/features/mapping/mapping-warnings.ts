import type { MappingState } from './mapping-state.js';
import { Reachability } from './reachability.js';
import { readService, type ServiceReference } from './service-reference.js';
import { isFault } from './text.js';

/** Something that was accepted and is probably not what its author means. */
export interface Warning {
  readonly code: string;
  readonly message: string;
  /** Into the mapping. */
  readonly pointer: string;
}

/** What is known when the warnings are made; what is left out is not warned about. */
export interface WarningContext {
  /** Does discovery know this service? undefined: nobody has looked yet. */
  readonly isKnown?: (service: ServiceReference) => boolean | undefined;
  /** The other mappings of the gateway. */
  readonly others?: Iterable<MappingState>;
  /** How long a request may last without being cut by a hot restart, in milliseconds. */
  readonly windowMs?: number;
}

/** What the author of a mapping should hear, beside that it was accepted. */
export function mappingWarnings(state: MappingState, context: WarningContext): Warning[] {
  return [
    ...serviceWarnings(state, context),
    ...rewriteWarnings(state),
    ...timeoutWarnings(state, context),
    ...shadowWarnings(state, context),
  ];
}

function* serviceWarnings(state: MappingState, { isKnown }: WarningContext): Iterable<Warning> {
  const service = readService(state.service);
  if (isKnown === undefined || isFault(service) || service.ipVersion !== 0) return;
  const known = isKnown(service);
  if (known === undefined) {
    const message = `No static list names ${service.name}, and it has not been looked up yet; the mapping's status says shortly whether it was found. Without an instance the mapping answers 503, and goes live by itself when one appears.`;
    yield { code: 'unverified_service', message, pointer: '/service' };
  } else if (!known) {
    const message = `Discovery has looked for ${service.name} and found no instance. The mapping answers 503 until one appears, and goes live by itself then.`;
    yield { code: 'unresolved_service', message, pointer: '/service' };
  }
}

function* rewriteWarnings({ prefix, rewrite }: MappingState): Iterable<Warning> {
  if (prefix === null || !prefix.endsWith('/') || rewrite.endsWith('/')) return;
  const message = `${prefix}x becomes ${rewrite}x, in one segment. Let the rewrite end in "/" if that is not meant.`;
  yield { code: 'rewrite_joins_segments', message, pointer: '/rewrite' };
}

function* timeoutWarnings({ timeoutMs }: MappingState, { windowMs }: WarningContext): Iterable<Warning> {
  if (windowMs === undefined || timeoutMs < windowMs) return;
  const message = `A request that takes longer than ${windowMs} ms is cut when the gateway restarts for a change (parentShutdownTimeS - drainTimeS).`;
  yield { code: 'timeout_exceeds_window', message, pointer: '/timeoutMs' };
}

function* shadowWarnings(state: MappingState, { others }: WarningContext): Iterable<Warning> {
  if (others === undefined) return;
  const apart = [...others].filter(({ name }) => name !== state.name);
  const table = new Reachability([state, ...apart]);
  yield* shadowed(state, table);
  let without: Reachability | undefined; // seldom needed
  for (const { name } of apart) {
    if (table.coveredBy(name) !== state.name) continue;
    without ??= new Reachability(apart);
    if (without.coveredBy(name) === undefined) yield makesUnreachable(state, name);
  }
}

/** Said of a mapping that no request can reach in this table. */
export function* shadowed(state: MappingState, table: Reachability): Iterable<Warning> {
  const above = table.coveredBy(state.name);
  if (above === undefined) return;
  const message = `Every request that this could match goes to ${above}, which is asked first. Raise the precedence, or narrow the other.`;
  yield { code: 'shadowed', message, pointer: matchPointer(state) };
}

/** Said of a mapping because of which no request reaches another any more. */
export function makesUnreachable(state: MappingState, other: string): Warning {
  const message = `No request reaches the mapping ${other} any more: this takes every request that it could match. Narrow this, or raise the precedence of ${other}.`;
  return { code: 'makes_unreachable', message, pointer: matchPointer(state) };
}

function matchPointer({ path }: MappingState): string {
  return path === null ? '/prefix' : '/path';
}
