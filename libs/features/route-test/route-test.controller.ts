import { Controller, Delete, Get, Param, Put } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';

import { Scopes } from '#platform/http/access.decorators.js';
import { dryRunSchema, pageSchema } from '#platform/http/answer-schemas.js';
import { CommandRunner } from '#platform/http/command-runner.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { entityTag } from '#platform/http/entity-tag.js';
import { JsonBody } from '#platform/http/json-body.js';
import { answerPage, decodeCursor, type Page, pageParameters, toPage } from '#platform/http/page.js';
import { QueryBy } from '#platform/http/query-parameters.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer, Asked } from '#platform/http/request-context.js';
import { dryRunAnswer, subjectState, subjectVersion, testedRoutes, writeHeaders } from '#platform/http/write-answer.js';
import { ConfigurationWrite, type WriteRequest } from '#platform/http/write-request.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Json } from '#platform/kernel/json.js';

import { DeleteRouteTest } from './delete-route-test.js';
import { ListRouteTests, ReadRouteTest, type RouteTestView } from './list-route-tests.js';
import { PutRouteTest } from './put-route-test.js';
import { routeTestSubject } from './route-test.js';
import { deletedRouteTestSchema, routeTestSchema, writtenRouteTestSchema } from './route-test-answers.js';
import { checkRouteTestName, parseRouteTest, RouteTestInput } from './route-test-input.js';

const listParameters = z.strictObject(pageParameters);
const tag = 'Route tests';
const cursors = 'route-tests';

/** /v1/gateways/{gateway}/route-tests: what requests must come to, kept with the configuration. */
@Controller('v1/gateways/:gateway/route-tests')
export class RouteTestController {
  constructor(
    private readonly commands: CommandRunner,
    private readonly queries: QueryRunner,
  ) {}

  @Get()
  @Scopes('read')
  @Describe({
    tag,
    summary: 'List route tests by name, each with its result on the routes of this moment',
    query: listParameters,
    answers: { 200: pageSchema(routeTestSchema) },
  })
  async list(
    @Param('gateway') gateway: string,
    @QueryBy(listParameters) { cursor, limit }: z.infer<typeof listParameters>,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<Page<RouteTestView>> {
    const after = cursor === undefined ? undefined : decodeCursor(cursors, 'string', cursor);
    const rows = await this.queries.run(new ListRouteTests(gateway, { after, limit: limit + 1 }));
    const page = toPage(rows, limit, cursors, (test) => test.name);
    return answerPage(asked, reply, page);
  }

  @Get(':test')
  @Scopes('read')
  @Describe({ tag, summary: 'Read a route test, with its result on the routes of this moment', answers: { 200: routeTestSchema } })
  async read(@Param('gateway') gateway: string, @Param('test') name: string, @Answer() reply: FastifyReply): Promise<RouteTestView> {
    const found = await this.queries.run(new ReadRouteTest(gateway, name));
    if (found === undefined) throw new DomainError('not_found', 'route_test_not_found', 'There is no route test of this name.');
    reply.header('ETag', entityTag(found.version)).header('Chancery-Version', String(found.gatewayVersion));
    return found;
  }

  @Put(':test')
  @Scopes('write')
  @Describe({
    tag,
    summary: 'Create or replace a route test',
    details:
      'Refused (422 `route_test_failed`) when it does not hold on the routes as they are, unless `overrideRouteTests` is said with a reason.',
    write: 'configuration',
    body: RouteTestInput,
    answers: { 200: z.union([writtenRouteTestSchema, dryRunSchema]), 201: writtenRouteTestSchema },
  })
  async replace(
    @Param('gateway') gateway: string,
    @Param('test') name: string,
    @JsonBody() body: Json,
    @ConfigurationWrite() write: WriteRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    const subject = routeTestSubject(name);
    const state = parseRouteTest(name, body);
    const request = await this.commands.requestFor(write, `gateway/${gateway}`, subject);
    const outcome = await this.commands.run(new PutRouteTest(gateway, state, request), write.context);
    if (outcome.dryRun) return dryRunAnswer(reply, outcome);
    writeHeaders(reply, outcome, subject);
    const created = outcome.events.some((event) => event.type === 'RouteTestCreated');
    reply.status(created ? 201 : 200);
    if (created) reply.header('Location', `/v1/gateways/${gateway}/route-tests/${name}`);
    const before = outcome.unchanged ? outcome.before.get(subject) : undefined;
    return {
      ...subjectState(outcome, subject),
      version: subjectVersion(outcome, subject),
      gatewayVersion: before?.streamVersion ?? outcome.version,
      recordedAt: before?.recordedAt ?? outcome.recordedAt,
      ...testedRoutes(outcome),
    };
  }

  @Delete(':test')
  @Scopes('write')
  @Describe({
    tag,
    summary: 'Delete a route test',
    write: 'configuration',
    answers: { 200: z.union([deletedRouteTestSchema, dryRunSchema]) },
  })
  async remove(
    @Param('gateway') gateway: string,
    @Param('test') name: string,
    @ConfigurationWrite() write: WriteRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    checkRouteTestName(name);
    const request = await this.commands.requestFor(write, `gateway/${gateway}`, routeTestSubject(name));
    const outcome = await this.commands.run(new DeleteRouteTest(gateway, name, request), write.context);
    if (outcome.dryRun) return dryRunAnswer(reply, outcome);
    writeHeaders(reply, outcome, routeTestSubject(name));
    return { name, deleted: true, gatewayVersion: outcome.version };
  }
}
