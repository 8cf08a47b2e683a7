import { Controller, Get, Param } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';

import { Scopes } from '#platform/http/access.decorators.js';
import { pageSchema } from '#platform/http/answer-schemas.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { answerPage, decodeCursor, type Page, pageParameters, toPage } from '#platform/http/page.js';
import { QueryBy } from '#platform/http/query-parameters.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer, Asked } from '#platform/http/request-context.js';

import { labelParameter, labelsOf } from './label-parameter.js';
import { ListRoutes } from './list-routes.js';
import type { RouteView } from './mapping.projection.js';
import { routeRowSchema } from './mapping-answers.js';

const listParameters = z.strictObject({
  ...pageParameters,
  mapping: z.string().max(64).optional().describe('Exactly this mapping.'),
  host: z.string().max(253).optional().describe('Exactly this host.'),
  service: z.string().max(2048).optional().describe('Exactly this service, as it was written.'),
  upstream: z.string().max(2048).optional().describe('Exactly this upstream, for instance http://usersvc:80.'),
  prefix: z.string().max(2048).optional().describe('The beginning of the path or prefix.'),
  label: labelParameter,
  status: z.enum(['unresolved', 'set_aside']).optional().describe('Only rows of which this is to be said.'),
});

/** /v1/gateways/{gateway}/routes: the mappings in the order in which a request asks them. */
@Controller('v1/gateways/:gateway/routes')
@Scopes('read')
export class RouteController {
  constructor(private readonly queries: QueryRunner) {}

  @Get()
  @Describe({
    tag: 'Mappings',
    summary: 'List the route table, in the order in which a request asks its rows',
    details: 'It is projected from the log: `Chancery-Version` says from which version of the gateway.',
    query: listParameters,
    answers: { 200: pageSchema(routeRowSchema) },
  })
  async list(
    @Param('gateway') gateway: string,
    @QueryBy(listParameters) query: z.infer<typeof listParameters>,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<Page<Omit<RouteView, 'orderKey'>>> {
    const { cursor, limit, label, prefix: matchPrefix, status: state, ...exact } = query;
    const after = cursor === undefined ? undefined : decodeCursor('routes', 'string', cursor);
    const filters = defined({ ...exact, matchPrefix, state, labels: labelsOf(label) });
    const { rows, projection } = await this.queries.run(new ListRoutes(gateway, { limit: limit + 1, filters, ...defined({ after }) }));
    reply.header('Chancery-Version', String(projection?.version ?? 0));
    const page = answerPage(
      asked,
      reply,
      toPage(rows, limit, 'routes', (row) => row.orderKey),
    );
    return { ...page, items: page.items.map(({ orderKey: _key, ...row }) => row) };
  }
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function defined<T extends object>(members: T): Defined<T> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as Defined<T>;
}
