import { DomainError } from '#platform/kernel/errors.js';
import type { AgentIdentity } from '#platform/xds/delivery-server.js';

/** @throws DomainError `target_name` or `gateway_name_invalid` for what is no name of one. */
export function checkTargetNames(target: string, gateway: string): void {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(target))
    throw new DomainError('invalid', 'target_name', 'A target is named by 1 to 64 letters, digits, dots, hyphens and underscores.');
  if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(gateway))
    throw new DomainError('invalid', 'gateway_name_invalid', 'This is not the name of a gateway.');
}

/** @throws DomainError forbidden `scope_missing` when the token is not for this target. */
export function mayServe(identity: AgentIdentity, target: string): void {
  if (identity.scopes.some((scope) => scope === `agent:${target}` || scope === 'agent:*' || scope === 'agent')) return;
  throw new DomainError('forbidden', 'scope_missing', `This token is not for the agent of ${target}: it needs the scope agent:${target}.`);
}
