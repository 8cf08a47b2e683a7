import { Controller, Get } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';

import { Scopes } from '#platform/http/access.decorators.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { QueryBy } from '#platform/http/query-parameters.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer } from '#platform/http/request-context.js';

import { stopped, type Verification } from './log-verifier.js';
import { ReadVerification } from './read-verification.js';
import { verificationSchema } from './verification-answers.js';

/** A log of a hundred million events takes this long. */
const DEADLINE_MS = 15 * 60_000;

const parameters = z.strictObject({
  mode: z
    .enum(['incremental', 'full'])
    .default('incremental')
    .describe('`incremental`: what is new since this process last found a stream right, or since its newest anchor; `full`: everything.'),
});

/** /v1/audit/verification: is the log as it was written? */
@Controller('v1/audit/verification')
export class VerificationController {
  constructor(private readonly queries: QueryRunner) {}

  @Get()
  @Scopes('audit')
  @Describe({
    tag: 'Audit',
    summary: 'Verify the log: its chain, what follows from it, and its anchors',
    details:
      'A log that does not verify is an answer (200, `ok: false`), not a refusal. One verification runs at a time; who asks meanwhile gets its result.',
    query: parameters,
    answers: { 200: verificationSchema },
  })
  async verify(@QueryBy(parameters) query: z.infer<typeof parameters>, @Answer() reply: FastifyReply): Promise<Verification> {
    const gone = new AbortController();
    reply.raw.once('close', () => gone.abort(stopped('its client went away')));
    reply.header('Cache-Control', 'no-store');
    return this.queries.run(new ReadVerification(query.mode, gone.signal), DEADLINE_MS);
  }
}
