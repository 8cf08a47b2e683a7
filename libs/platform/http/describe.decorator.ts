import { SetMetadata } from '@nestjs/common';
import type { z } from 'zod';

export const DESCRIPTION = 'chancery:description';

/** What the interface description says of a route. The guard, the media types and the refusals are added by themselves. */
export interface RouteDescription {
  readonly summary: string;
  readonly details?: string;
  /** The group in the page: Mappings, Gateways, ... */
  readonly tag: string;
  /** The query parameters of its own; a write's are added. */
  readonly query?: z.ZodObject;
  readonly body?: z.ZodType;
  /** The body's media types, where they are others than JSON's. */
  readonly bodyTypes?: readonly string[];
  /** True when the body may be left out. */
  readonly bodyOptional?: boolean;
  /** If-Match, If-None-Match, Idempotency-Key, dryRun and reason are accepted; for a gateway's configuration confirmWithin too. */
  readonly write?: true | 'configuration';
  /** The answers by status: a schema, or (for one without JSON) what it is. */
  readonly answers: Readonly<Record<number, z.ZodType | string>>;
  /** What the answers may come as, beside JSON. */
  readonly answersAs?: readonly string[];
}

export const Describe = (description: RouteDescription) => SetMetadata(DESCRIPTION, description);
