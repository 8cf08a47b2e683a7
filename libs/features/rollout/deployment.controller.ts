import { Controller, Get, Param, type StreamableFile } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';

import { ReadGateway } from '#features/gateway/list-gateways.js';
import { Scopes } from '#platform/http/access.decorators.js';
import { pageSchema } from '#platform/http/answer-schemas.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { EventStreams, wantsEventStream } from '#platform/http/event-stream.js';
import { answerPage, decodeCursor, type Page, pageParameters, toPage } from '#platform/http/page.js';
import { QueryBy } from '#platform/http/query-parameters.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer, Asked } from '#platform/http/request-context.js';
import { DomainError } from '#platform/kernel/errors.js';

import type { DeploymentView } from './deployment.table.js';
import { ListDeployments, ReadDeployment } from './list-deployments.js';
import { deploymentSchema } from './rollout-answers.js';

const listParameters = z.strictObject({
  ...pageParameters,
  target: z.string().max(64).optional().describe('Only this target.'),
  state: z.enum(['running', 'proven', 'failed', 'superseded', 'refused']).optional().describe('Only in this state.'),
});
const tag = 'Rollout';

/** /v1/gateways/{gateway}/deployments: every push and hot restart with its steps. */
@Controller('v1/gateways/:gateway/deployments')
@Scopes('read')
export class DeploymentController {
  constructor(
    private readonly queries: QueryRunner,
    private readonly streams: EventStreams,
  ) {}

  @Get()
  @Describe({ tag, summary: 'List deployments, newest first', query: listParameters, answers: { 200: pageSchema(deploymentSchema) } })
  async list(
    @Param('gateway') gateway: string,
    @QueryBy(listParameters) query: z.infer<typeof listParameters>,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<Page<DeploymentView>> {
    const { cursor, limit, ...rest } = query;
    await this.queries.run(new ReadGateway(gateway));
    const after = cursor === undefined ? undefined : deploymentId(decodeCursor('deployments', 'string', cursor));
    const rows = await this.queries.run(new ListDeployments({ gateway, after, limit: limit + 1, ...rest }));
    return answerPage(
      asked,
      reply,
      toPage(rows, limit, 'deployments', (deployment) => deployment.id),
    );
  }

  @Get(':deployment')
  @Describe({
    tag,
    summary: 'Read a deployment with its steps',
    details: 'With `Accept: text/event-stream` the deployment is sent again after every change (`event: deployment`), until it ends.',
    answers: { 200: deploymentSchema },
  })
  async read(
    @Param('gateway') gateway: string,
    @Param('deployment') id: string,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<DeploymentView | StreamableFile> {
    const found = await this.find(gateway, id);
    if (!wantsEventStream(asked)) return found;
    const read = () => this.find(gateway, id);
    return this.streams.send(asked, reply, {
      event: 'deployment',
      first: found,
      read,
      ended: (deployment) => deployment.state !== 'running',
    });
  }

  private async find(gateway: string, id: string): Promise<DeploymentView> {
    const found = await this.queries.run(new ReadDeployment(gateway, id));
    if (found === undefined) throw new DomainError('not_found', 'deployment_not_found', 'This gateway has no deployment of this id.');
    return found;
  }
}

function deploymentId(key: string): string {
  if (/^[0-9a-f-]{36}$/i.test(key)) return key;
  throw new DomainError(
    'malformed',
    'cursor_invalid',
    'This cursor does not belong to this list; leave it out to start from the first page.',
  );
}
