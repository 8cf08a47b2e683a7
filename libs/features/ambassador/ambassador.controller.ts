import { randomUUID } from 'node:crypto';

import { Controller, Delete, Get, HttpCode, Param, Post, Put } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';

import { DeleteMapping } from '#features/mapping/delete-mapping.js';
import { FindMappingWarnings } from '#features/mapping/find-mapping-warnings.js';
import { ListMappings, type MappingView, ReadMapping } from '#features/mapping/list-mappings.js';
import { AmbassadorMappingInput, checkName, type MappingInput, parseAmbassadorMapping } from '#features/mapping/mapping-input.js';
import { ReadSurroundings } from '#features/mapping/read-surroundings.js';
import { UpdateMapping } from '#features/mapping/update-mapping.js';
import { ReadStats } from '#features/rollout/read-stats.js';
import { RequestRedeployment } from '#features/rollout/request-redeployment.js';
import { Public, Scopes } from '#platform/http/access.decorators.js';
import { CommandRunner } from '#platform/http/command-runner.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { JsonBody } from '#platform/http/json-body.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer } from '#platform/http/request-context.js';
import { dryRunAnswer, type Warning, writeHeaders } from '#platform/http/write-answer.js';
import { ConfigurationWrite, Write, type WriteRequest } from '#platform/http/write-request.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Json } from '#platform/kernel/json.js';

import * as answers from './ambassador-answers.js';
import { ambassadorStats } from './ambassador-stats.js';
import { Envelope } from './envelope.js';

/** The original knew one gateway. */
export const GATEWAY = 'default';
const BATCH = 1000;
const tag = 'Ambassador';
const stored = { 200: z.union([answers.storedSchema, answers.dryRunEnvelopeSchema]) };

/** /ambassador: the REST of the first Ambassador, generations 1 and 2, over the commands and queries of the features. */
@Controller('ambassador')
export class AmbassadorController {
  constructor(
    private readonly commands: CommandRunner,
    private readonly queries: QueryRunner,
    private readonly envelope: Envelope,
  ) {}

  @Get('health')
  @Public()
  @Describe({ tag, summary: 'Say that the api lives', answers: { 200: answers.healthSchema } })
  health(): object {
    return this.envelope.ok({ msg: 'ambassador health check OK' });
  }

  @Get('mappings')
  @Scopes('read')
  @Describe({ tag, summary: 'List mappings by name', answers: { 200: answers.mappingsSchema } })
  async list(): Promise<object> {
    const mappings = (await this.all()).map(inOriginalWords);
    return this.envelope.ok({ count: mappings.length, mappings, deprecated: 'use GET /ambassador/mapping' });
  }

  @Get('mapping')
  @Scopes('read')
  @Describe({ tag, summary: 'List mappings, longest prefix first', answers: { 200: answers.mappingsWithModulesSchema } })
  async listWithModules(): Promise<object> {
    const longestFirst = (await this.all())
      .map(inOriginalWords)
      .sort((a, b) => b.prefix.length - a.prefix.length || (a.name < b.name ? -1 : 1));
    return this.envelope.ok({ count: longestFirst.length, mappings: longestFirst.map((mapping) => ({ ...mapping, modules: {} })) });
  }

  @Put('mappings')
  @Scopes('deploy')
  @Describe({
    tag,
    summary: 'Push the current version again',
    write: true,
    answers: { 200: z.union([answers.messageSchema, answers.dryRunEnvelopeSchema]) },
  })
  async reconfigure(@Write() write: WriteRequest, @Answer() reply: FastifyReply): Promise<object> {
    const input = { id: randomUUID(), reason: write.context.reason ?? 'reconfigure requested', force: false };
    const outcome = await this.commands.run(
      new RequestRedeployment(GATEWAY, input, { context: write.context, dryRun: write.dryRun }),
      write.context,
    );
    if (outcome.dryRun) return this.envelope.ok(dryRunAnswer(reply, outcome));
    return this.envelope.ok({ msg: 'reconfigure requested' });
  }

  @Post('mapping/:name')
  @HttpCode(200)
  @Scopes('write')
  @Describe({ tag, summary: 'Create or replace a mapping', write: 'configuration', body: AmbassadorMappingInput, answers: stored })
  create(
    @Param('name') name: string,
    @JsonBody() body: Json,
    @ConfigurationWrite() write: WriteRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    return this.store(parseAmbassadorMapping(name, body), write, reply, { deprecated: `use PUT /ambassador/mapping/${name}` });
  }

  @Put('mapping/:name')
  @Scopes('write')
  @Describe({ tag, summary: 'Create or replace a mapping', write: 'configuration', body: AmbassadorMappingInput, answers: stored })
  put(
    @Param('name') name: string,
    @JsonBody() body: Json,
    @ConfigurationWrite() write: WriteRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    return this.store(parseAmbassadorMapping(name, body), write, reply, {});
  }

  @Get('mapping/:name')
  @Scopes('read')
  @Describe({ tag, summary: 'Read a mapping', answers: { 200: answers.mappingAnswerSchema } })
  async read(@Param('name') name: string): Promise<object> {
    const found = await this.queries.run(new ReadMapping(GATEWAY, name));
    if (found === undefined) throw new DomainError('not_found', 'mapping_not_found', 'There is no mapping of this name.');
    return this.envelope.ok({ ...inOriginalWords(found), modules: {} });
  }

  @Delete('mapping/:name')
  @Scopes('write')
  @Describe({
    tag,
    summary: 'Delete a mapping; one that is not there is ok too',
    write: 'configuration',
    answers: { 200: z.union([answers.deletedSchema, answers.dryRunEnvelopeSchema]) },
  })
  async remove(@Param('name') name: string, @ConfigurationWrite() write: WriteRequest, @Answer() reply: FastifyReply): Promise<object> {
    checkName(name);
    const request = await this.commands.requestFor(write, `gateway/${GATEWAY}`, `mapping/${name}`);
    const outcome = await this.commands.run(new DeleteMapping(GATEWAY, name, request, { ignoreMissing: true }), write.context);
    if (outcome.dryRun) return this.envelope.ok(dryRunAnswer(reply, outcome));
    writeHeaders(reply, outcome, `mapping/${name}`);
    return this.envelope.ok({ name, deleted: outcome.events.length, modules_deleted: 0 });
  }

  @Get('stats')
  @Scopes('read')
  @Describe({ tag, summary: 'Read statistics per mapping', answers: { 200: answers.ambassadorStatsSchema } })
  async stats(): Promise<object> {
    const [stats, mappings] = await Promise.all([this.queries.run(new ReadStats(GATEWAY)), this.all()]);
    return ambassadorStats(
      stats,
      mappings.map((mapping) => mapping.name),
    );
  }

  private async store(input: MappingInput, write: WriteRequest, reply: FastifyReply, hints: object): Promise<object> {
    const { name } = input;
    const request = await this.commands.requestFor(write, `gateway/${GATEWAY}`, `mapping/${name}`);
    const writing = this.commands.run(new UpdateMapping(GATEWAY, name, { mode: 'upsert', input }, request), write.context);
    const beside = this.queries.begin(new ReadSurroundings(GATEWAY, input.service));
    const outcome = await writing;
    const state = { ...input, timeoutMs: input.timeoutMs ?? 0 };
    const found = await this.queries.run(new FindMappingWarnings(GATEWAY, state, outcome, beside));
    if (outcome.dryRun) return this.envelope.ok(dryRunAnswer(reply, outcome, found));
    writeHeaders(reply, outcome, `mapping/${name}`);
    return this.envelope.ok({ name, ...warnings(found), ...hints });
  }

  private async all(): Promise<MappingView[]> {
    const found: MappingView[] = [];
    for (;;) {
      const batch = await this.queries.run(new ListMappings({ gateway: GATEWAY, after: found.at(-1)?.name, limit: BATCH }));
      found.push(...batch);
      if (batch.length < BATCH) return found;
    }
  }
}

/** What the original could say of a mapping. One that matches an exact path is shown by that path. */
function inOriginalWords(mapping: MappingView): { name: string; prefix: string; rewrite: string; service: string } {
  return { name: mapping.name, prefix: mapping.prefix ?? mapping.path ?? '', rewrite: mapping.rewrite, service: mapping.service };
}

function warnings(found: readonly Warning[]): object {
  return found.length === 0 ? {} : { warnings: found };
}
