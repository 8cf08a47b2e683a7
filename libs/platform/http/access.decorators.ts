import { SetMetadata } from '@nestjs/common';

/** What a token may do. `admin`: tokens and gateways and settings. `certificates`: certificates with their keys. `audit`: the trail of everybody. `agent` belongs to agents and opens nothing here. */
export type Scope = 'read' | 'write' | 'deploy' | 'admin' | 'certificates' | 'audit';

export const PUBLIC = 'chancery:public';
export const SCOPES = 'chancery:scopes';

/** Opens a route to everyone. Without this or `@Scopes`, the guard refuses a route to all. */
export const Public = () => SetMetadata(PUBLIC, true);

/** Opens a route to tokens that hold every one of these scopes. */
export const Scopes = (...scopes: readonly Scope[]) => SetMetadata(SCOPES, scopes);
