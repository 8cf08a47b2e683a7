import { parseHost } from './host.js';
import { limits } from './limits.js';
import { nameFault } from './mapping-fields.js';
import { pathFault } from './request-path.js';
import type { RouteRow } from './route-table.js';
import { readService, type ServiceReference, upstreamFault } from './service-reference.js';
import { type Fault, isFault } from './text.js';

/** Why a mapping is not compiled. */
export interface Refusal {
  readonly code: string;
  readonly detail: string;
  /** Its very match makes no sense, so there is no route on which to say so. */
  readonly drop: boolean;
}

/**
 * What is wrong with a row that is in the log all the same: written past the validation, by an older version, or
 * allowed when the settings were others. Checked is what could hurt others or mislead: the host, the path (the reserved
 * prefix is not to be had) and where requests would go. Header conditions and methods can only hurt the mapping itself:
 * Envoy judges those when the whole is validated, and what it refuses is found and set aside.
 */
export function rowFault(row: RouteRow, context: { readonly allowLoopback: boolean }): Refusal | undefined {
  const match = nameFault(row.mapping) ?? matchFault(row);
  if (match !== undefined) return { code: match.code, detail: match.message, drop: true };
  const action = actionFault(row, context.allowLoopback);
  return action === undefined ? undefined : { code: action.code, detail: action.message, drop: false };
}

function matchFault(row: RouteRow): Fault | undefined {
  const host = parseHost(row.host);
  if (isFault(host)) return host;
  if (host.host !== row.host) return { code: 'host_not_normalised', message: `The host must read ${host.host}.` };
  return pathFault(row.match.value, 'match');
}

/** Most rows share their service with others: each text is read and judged once, which is a tenth of the work of a first table. */
const known = new Map<string, ServiceReference | Fault>();
const MOST_KNOWN = 10_000;

/** The service of a row, or why no request may go there. */
export function rowService(text: string, allowLoopback: boolean): ServiceReference | Fault {
  const key = `${allowLoopback} ${text}`;
  const found = known.get(key);
  if (found !== undefined) return found;
  const read = readService(text);
  const judged = isFault(read) ? read : (upstreamFault(read, { allowLoopback, ownPorts: new Set() }) ?? read);
  if (known.size >= MOST_KNOWN) known.clear();
  known.set(key, judged);
  return judged;
}

function actionFault(row: RouteRow, allowLoopback: boolean): Fault | undefined {
  const service = rowService(row.service, allowLoopback);
  if (isFault(service)) return service;
  const rewrite = pathFault(row.rewrite, 'rewrite');
  if (rewrite !== undefined) return rewrite;
  const { timeoutMs } = row;
  if (Number.isInteger(timeoutMs) && timeoutMs >= limits.timeoutMinMs && timeoutMs <= limits.timeoutMaxMs) return undefined;
  return { code: 'timeout_out_of_range', message: 'The timeout is out of range.' };
}
