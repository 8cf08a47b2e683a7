import type { NewEvent, View } from '#platform/eventstore/event-store.js';
import { DomainError } from '#platform/kernel/errors.js';
import { canonicalJson, type JsonObject } from '#platform/kernel/json.js';

import { limits } from './limits.js';
import { checkMapping, checkUpstream, type MappingInput, type MappingPatch } from './mapping-input.js';
import { fromJson, type MappingState, toJson } from './mapping-state.js';
import { matchClaims } from './match-claims.js';

export type { MappingState } from './mapping-state.js';

/** What happens to a mapping. Each event carries the whole new state; it is null when the mapping ends. */
export type MappingEvent = MappingCreated | MappingUpdated | MappingDeleted;
interface MappingCreated extends NewEvent {
  readonly type: 'MappingCreated';
}
interface MappingUpdated extends NewEvent {
  readonly type: 'MappingUpdated';
}
interface MappingDeleted extends NewEvent {
  readonly type: 'MappingDeleted';
  readonly state: null;
}

/** The version of the state's shape that this code writes. */
const schemaVersion = 1;

/** The subject that holds a gateway's settings, which decide what a mapping may reach and its default timeout. */
export const gatewaySubject = 'gateway';

/** The subject of a mapping in its gateway's stream. */
export function mappingSubject(name: string): string {
  return `mapping/${name}`;
}

/** What a decision needs of the world beside the view. */
export interface MappingContext {
  /** Ports of the product itself on this machine: never an upstream. */
  readonly ownPorts: ReadonlySet<number>;
  /** Does the gateway have as many mappings as it may? */
  readonly isFull?: boolean;
}

const nothingElse: MappingContext = { ownPorts: new Set() };

/** Creates a mapping. @throws DomainError `conflict` `mapping_exists`; `invalid` for an upstream that is not allowed. */
export const createMapping =
  (input: MappingInput, context: MappingContext = nothingElse) =>
  (view: View): MappingEvent[] => {
    const state = wholeMapping(input, settings(view), context);
    if (present(view, input.name) !== null) {
      throw new DomainError(
        'conflict',
        'mapping_exists',
        `The mapping ${input.name} exists; use PUT to replace it, or choose another name.`,
        {
          errors: [{ pointer: '/name', code: 'mapping_exists', message: 'There is a mapping of this name.' }],
        },
      );
    }
    return [created(state, context)];
  };

/** Replaces a mapping that exists. Nothing to do when it is the same. @throws DomainError `not_found`. */
export const replaceMapping =
  (input: MappingInput, context: MappingContext = nothingElse) =>
  (view: View): MappingEvent[] => {
    const before = present(view, input.name);
    if (before === null) throw notFound(input.name);
    return changed(before, wholeMapping(input, settings(view), context));
  };

/** Creates the mapping or replaces it, whichever is needed. */
export const upsertMapping =
  (input: MappingInput, context: MappingContext = nothingElse) =>
  (view: View): MappingEvent[] => {
    const before = present(view, input.name);
    const after = wholeMapping(input, settings(view), context);
    return before === null ? [created(after, context)] : changed(before, after);
  };

/** Applies an RFC 7396 merge patch to what is there, and checks the whole that results. @throws DomainError `not_found`. */
export const patchMapping =
  (name: string, patch: MappingPatch, context: MappingContext = nothingElse) =>
  (view: View): MappingEvent[] => {
    const before = present(view, name);
    if (before === null) throw notFound(name);
    return changed(before, patchedMapping(fromJson(name, before), patch, settings(view), context));
  };

/** Ends a mapping. One that is not there is refused, or (`ignoreMissing`, as the original did) nothing to do. */
export const deleteMapping =
  (name: string, options: { readonly ignoreMissing?: boolean } = {}) =>
  (view: View): MappingEvent[] => {
    settings(view);
    if (present(view, name) === null) {
      if (options.ignoreMissing === true) return [];
      throw notFound(name);
    }
    return [deleted(mappingSubject(name))];
  };

/** The settings that a mapping's decision reads. @throws DomainError `not_found` when there is no such gateway. */
function settings(view: View): JsonObject {
  const { state } = view.subject(gatewaySubject);
  if (state === null) throw new DomainError('not_found', 'gateway_not_found', 'There is no such gateway; create it first.');
  return state;
}

function present(view: View, name: string): JsonObject | null {
  return view.subject(mappingSubject(name)).state;
}

function notFound(name: string): DomainError {
  return new DomainError('not_found', 'mapping_not_found', `There is no mapping ${name}.`);
}

/**
 * A wanted mapping, checked against the gateway's settings, with no default left open.
 * @throws DomainError `invalid` for an upstream that is not allowed.
 */
export function wholeMapping(input: MappingInput, gateway: JsonObject, context: MappingContext): MappingState {
  checkUpstream(input.service, { allowLoopback: gateway.allowLoopbackUpstreams === true, ownPorts: context.ownPorts });
  const fallback = typeof gateway.defaultTimeoutMs === 'number' ? gateway.defaultTimeoutMs : 5000;
  return { ...input, timeoutMs: input.timeoutMs ?? fallback };
}

/** A mapping with a merge patch applied, checked as a whole. @throws DomainError `invalid`. */
export function patchedMapping(before: MappingState, patch: MappingPatch, gateway: JsonObject, context: MappingContext): MappingState {
  return wholeMapping(checkMapping(before.name, merged(before, patch)), gateway, context);
}

/** The event that takes a mapping from one state to another (null: it does not live); undefined when they are equal. */
export function mappingTransition(subject: string, before: JsonObject | null, after: JsonObject | null): MappingEvent | undefined {
  if (after === null) return before === null ? undefined : deleted(subject);
  const state = fromJson(subject.slice(mappingSubject('').length), after);
  return before === null ? live('MappingCreated', state) : changed(before, state)[0];
}

function deleted(subject: string): MappingDeleted {
  return { type: 'MappingDeleted', schemaVersion, subject, state: null };
}

function created(state: MappingState, context: MappingContext): MappingEvent {
  if (context.isFull !== true) return live('MappingCreated', state);
  const message = `This gateway has ${limits.mappingsPerGateway} mappings, which is as many as it may; delete some, or use another gateway.`;
  throw new DomainError('conflict', 'mapping_budget', message);
}

function changed(before: JsonObject, after: MappingState): MappingEvent[] {
  return canonicalJson(before) === canonicalJson(after) ? [] : [live('MappingUpdated', after)];
}

function live<T extends 'MappingCreated' | 'MappingUpdated'>(type: T, state: MappingState): NewEvent & { readonly type: T } {
  return {
    type,
    schemaVersion,
    subject: mappingSubject(state.name),
    state: toJson(state),
    claims: matchClaims(state),
    ...references(state),
  };
}

/** What must live as long as the mapping does. */
function references({ tls }: MappingState): Pick<NewEvent, 'references'> {
  return tls === undefined || tls.certificate === null ? {} : { references: [`certificate/${tls.certificate}`] };
}

function merged(before: MappingState, patch: MappingPatch): Parameters<typeof checkMapping>[1] {
  const { name: _name, ...whole } = before;
  const body = { ...whole, methods: [...whole.methods] };
  // RFC 7396: null removes a member (here: back to its default); nested objects merge; everything else replaces.
  const rest = Object.entries(patch).filter(([key]) => !['headers', 'labels', 'name', 'tls'].includes(key));
  return {
    ...body,
    ...Object.fromEntries(rest.map(([key, value]) => [key, value ?? undefined])),
    headers: mergedTexts(before.headers, patch.headers),
    labels: mergedTexts(before.labels, patch.labels),
    tls: patch.tls === null ? undefined : { ...before.tls, ...patch.tls },
  };
}

function mergedTexts(
  before: Readonly<Record<string, string>>,
  patch: Readonly<Record<string, string | null>> | null | undefined,
): Record<string, string> {
  if (patch === null) return {};
  const members = new Map<string, string | null>([...Object.entries(before), ...Object.entries(patch ?? {})]);
  return Object.fromEntries([...members].filter((member): member is [string, string] => member[1] !== null));
}
