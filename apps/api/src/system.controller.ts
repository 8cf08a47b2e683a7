import { Controller, Get } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';

import { Public, Scopes } from '#platform/http/access.decorators.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { HttpMetrics } from '#platform/http/http-metrics.js';
import { flagParameter, QueryBy } from '#platform/http/query-parameters.js';
import { Answer } from '#platform/http/request-context.js';

import { type Check, Readiness } from './readiness.js';

const readyParameters = z.strictObject({ verbose: flagParameter.describe('List the checks, and how far the projection is behind.') });
const statusSchema = z.object({ status: z.enum(['ok', 'not_ready']) });
const checkSchema = z.object({ name: z.string(), ok: z.boolean(), detail: z.string() });
const readySchema = z.object({ status: z.enum(['ok', 'not_ready']), checks: z.array(checkSchema).optional() });
const tag = 'System';

/** What machines ask of the process itself. */
@Controller()
export class SystemController {
  constructor(
    private readonly readiness: Readiness,
    private readonly metrics: HttpMetrics,
  ) {}

  @Get('healthz')
  @Public()
  @Describe({ tag, summary: 'Does the process live?', answers: { 200: statusSchema } })
  health(): object {
    return { status: 'ok' };
  }

  @Get('readyz')
  @Public()
  @Describe({ tag, summary: 'Can the process do its work?', query: readyParameters, answers: { 200: readySchema, 503: readySchema } })
  async ready(@QueryBy(readyParameters) query: z.infer<typeof readyParameters>, @Answer() reply: FastifyReply): Promise<object> {
    const checks: Check[] = await this.readiness.checks();
    const ok = checks.every((check) => check.ok);
    reply.status(ok ? 200 : 503);
    if (ok && query.verbose !== true) return { status: 'ok' };
    return { status: ok ? 'ok' : 'not_ready', checks: ok ? [...checks, await this.readiness.projection()] : checks };
  }

  @Get('metrics')
  @Scopes('read')
  @Describe({ tag, summary: 'Metrics, as Prometheus reads them', answers: { 200: 'Prometheus text format.' } })
  async read(@Answer() reply: FastifyReply): Promise<string> {
    reply.header('Content-Type', this.metrics.registry.contentType);
    return this.metrics.registry.metrics();
  }
}
