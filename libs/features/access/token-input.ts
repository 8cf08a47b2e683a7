import { z } from 'zod';

import { DomainError } from '#platform/kernel/errors.js';
import type { Json } from '#platform/kernel/json.js';

import { DEFAULT_TOKEN_DAYS, MAX_TOKEN_DAYS } from './access.js';

const scope = z
  .string()
  .regex(
    /^(read|write|deploy|admin|certificates|audit|agent:(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,63}))$/,
    'must be read, write, deploy, admin, certificates, audit, agent:<target> or agent:*',
  );

/** The body of POST /v1/tokens. */
export const TokenCreateInput = z.strictObject({
  name: z
    .string()
    .min(1)
    .max(64)
    .regex(/^[^\p{Cc}\p{Cs}]*$/u, 'must not hold control characters')
    .default('unnamed')
    .describe('What the token is for; shown in lists.'),
  scopes: z
    .array(scope)
    .min(1)
    .max(20)
    .describe(
      'What the token may do: `read`, `write` (mappings, principals), `deploy` (redeployments, rollouts), `admin` (tokens, gateways, settings), `certificates` (certificates with their keys), `audit` (the audit trail and its verification), `agent:<target>` (an agent).',
    ),
  expiresInDays: z
    .number()
    .positive()
    .max(MAX_TOKEN_DAYS)
    .default(DEFAULT_TOKEN_DAYS)
    .describe(`Days until it expires, at most ${MAX_TOKEN_DAYS}; fractions are allowed.`),
});

export type TokenInput = z.infer<typeof TokenCreateInput>;

/** @throws DomainError malformed (wrong shape) or invalid (meaningless), with a pointer per fault. */
export function parseTokenInput(body: Json): TokenInput {
  const result = TokenCreateInput.safeParse(body);
  if (result.success) return { ...result.data, scopes: [...new Set(result.data.scopes)].sort() };
  const errors = result.error.issues.map((issue) => ({
    pointer: issue.code === 'unrecognized_keys' ? `/${issue.keys[0]}` : issue.path.map((part) => `/${String(part)}`).join(''),
    code: issue.code === 'unrecognized_keys' ? 'field_unknown' : `token_${issue.code}`,
    message: issue.message,
  }));
  const shape = result.error.issues.some((issue) => issue.code === 'invalid_type' || issue.code === 'unrecognized_keys');
  throw new DomainError(shape ? 'malformed' : 'invalid', 'token_invalid', `The token cannot be made: ${errors[0]?.message}`, { errors });
}
