import { Controller, Get, Param } from '@nestjs/common';
import { z } from 'zod';

import { ReadGateway } from '#features/gateway/list-gateways.js';
import { Scopes } from '#platform/http/access.decorators.js';
import { Describe } from '#platform/http/describe.decorator.js';
import type { Page } from '#platform/http/page.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { DomainError } from '#platform/kernel/errors.js';

import { ListTargets, ReadTarget } from './list-targets.js';
import { ReadStats } from './read-stats.js';
import { statsSchema, targetSchema } from './rollout-answers.js';
import type { TargetView } from './target.table.js';

const tag = 'Rollout';

/** /v1/gateways/{gateway}/targets and /stats: the Envoys, and what they count. */
@Controller('v1/gateways/:gateway')
@Scopes('read')
export class TargetController {
  constructor(private readonly queries: QueryRunner) {}

  @Get('targets')
  @Describe({
    tag,
    summary: 'List targets: the Envoys of this gateway',
    answers: { 200: z.object({ items: z.array(targetSchema), next: z.null() }) },
  })
  async list(@Param('gateway') gateway: string): Promise<Page<TargetView>> {
    await this.queries.run(new ReadGateway(gateway));
    return { items: await this.queries.run(new ListTargets(gateway)), next: null };
  }

  @Get('targets/:target')
  @Describe({ tag, summary: 'Read a target: what it should run, runs, and has proven', answers: { 200: targetSchema } })
  async read(@Param('gateway') gateway: string, @Param('target') name: string): Promise<TargetView> {
    const found = await this.queries.run(new ReadTarget(gateway, name));
    if (found === undefined) throw new DomainError('not_found', 'target_not_found', 'This gateway has no target of this name.');
    return found;
  }

  @Get('stats')
  @Describe({ tag, summary: 'Read statistics per mapping, summed over the targets', answers: { 200: statsSchema } })
  async stats(@Param('gateway') gateway: string): Promise<object> {
    await this.queries.run(new ReadGateway(gateway));
    const stats = await this.queries.run(new ReadStats(gateway));
    return { ...stats, mappings: Object.fromEntries(stats.mappings) };
  }
}
