import { z } from 'zod';

import { readBody } from '#platform/http/body-shape.js';

/** The body of POST /v1/gateways/{gateway}/redeployments. */
export const RedeploymentInputSchema = z.strictObject({
  targets: z.array(z.string().min(1).max(64)).min(1).max(1000).optional().describe('The targets; left out: every one of the gateway.'),
  reason: z.string().min(1).max(1000).describe('Why; kept in the record.'),
  force: z.boolean().default(false).describe('Restart at once and even if nothing changed. May cut requests that are under way.'),
});

/** @throws DomainError malformed, with a pointer per fault. */
export function parseRedeployment(body: unknown): z.infer<typeof RedeploymentInputSchema> {
  return readBody(RedeploymentInputSchema, body);
}
