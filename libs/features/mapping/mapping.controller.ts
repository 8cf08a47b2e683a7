import { Controller, Delete, Get, Param, Patch, Post, Put } from '@nestjs/common';
import type { Command } from '@nestjs/cqrs';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { CommandRequest } from '#platform/eventstore/command-request.js';
import type { Outcome } from '#platform/eventstore/event-store.js';
import { Scopes } from '#platform/http/access.decorators.js';
import { dryRunSchema, pageSchema } from '#platform/http/answer-schemas.js';
import { CommandRunner } from '#platform/http/command-runner.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { entityTag, tagged } from '#platform/http/entity-tag.js';
import { JsonBody } from '#platform/http/json-body.js';
import { answerPage, decodeCursor, type Page, pageParameters, toPage } from '#platform/http/page.js';
import { QueryBy } from '#platform/http/query-parameters.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer, Asked } from '#platform/http/request-context.js';
import { dryRunAnswer, subjectState, subjectVersion, testedRoutes, writeHeaders } from '#platform/http/write-answer.js';
import { ConfigurationWrite, type WriteRequest } from '#platform/http/write-request.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Json } from '#platform/kernel/json.js';

import { CreateMapping } from './create-mapping.js';
import { DeleteMapping } from './delete-mapping.js';
import { FindMappingWarnings } from './find-mapping-warnings.js';
import { labelParameter, labelsOf } from './label-parameter.js';
import { ListMappings, type MappingView, ReadMapping } from './list-mappings.js';
import { mappingSubject } from './mapping.js';
import { deletedMappingSchema, mappingSchema, writtenMappingSchema } from './mapping-answers.js';
import {
  MappingCreateInput,
  MappingPatch,
  MappingReplaceInput,
  parseMappingCreate,
  parseMappingPatch,
  parseMappingReplace,
} from './mapping-input.js';
import { fromJson } from './mapping-state.js';
import { ReadSurroundings } from './read-surroundings.js';
import { UpdateMapping } from './update-mapping.js';

const listParameters = z.strictObject({
  ...pageParameters,
  host: z.string().max(253).optional().describe('Exactly this host.'),
  prefix: z.string().max(2048).optional().describe('The beginning of the prefix.'),
  service: z.string().max(2048).optional().describe('Exactly this service, as it was written.'),
  label: labelParameter,
  status: z.enum(['live', 'pending', 'unresolved', 'set_aside']).optional().describe('Where the mapping stands.'),
});

const tag = 'Mappings';
const written = { 200: z.union([writtenMappingSchema, dryRunSchema]) };

/** /v1/gateways/{gateway}/mappings */
@Controller('v1/gateways/:gateway/mappings')
export class MappingController {
  constructor(
    private readonly commands: CommandRunner,
    private readonly queries: QueryRunner,
  ) {}

  @Get()
  @Scopes('read')
  @Describe({ tag, summary: 'List mappings by name', query: listParameters, answers: { 200: pageSchema(mappingSchema) } })
  async list(
    @Param('gateway') gateway: string,
    @QueryBy(listParameters) query: z.infer<typeof listParameters>,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<Page<MappingView>> {
    const { cursor, limit, status: state, label: labels, ...rest } = query;
    const after = cursor === undefined ? undefined : decodeCursor('mappings', 'string', cursor);
    const rows = await this.queries.run(new ListMappings({ gateway, after, limit: limit + 1, state, labels: labelsOf(labels), ...rest }));
    return answerPage(
      asked,
      reply,
      toPage(rows, limit, 'mappings', (mapping) => mapping.name),
    );
  }

  @Post()
  @Scopes('write')
  @Describe({
    tag,
    summary: 'Create a mapping',
    write: 'configuration',
    body: MappingCreateInput,
    answers: { ...written, 201: writtenMappingSchema },
  })
  async create(
    @Param('gateway') gateway: string,
    @JsonBody() body: Json,
    @ConfigurationWrite() write: WriteRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    const input = parseMappingCreate(body);
    const about = { gateway, name: input.name, service: input.service };
    return this.write(about, write, reply, (request) => new CreateMapping(gateway, input, request));
  }

  @Get(':mapping')
  @Scopes('read')
  @Describe({ tag, summary: 'Read a mapping', answers: { 200: mappingSchema, 304: 'Unchanged.' } })
  async read(
    @Param('gateway') gateway: string,
    @Param('mapping') name: string,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<MappingView | undefined> {
    const found = await this.queries.run(new ReadMapping(gateway, name));
    if (found === undefined) throw new DomainError('not_found', 'mapping_not_found', 'There is no mapping of this name.');
    reply.header('Chancery-Version', String(found.gatewayVersion));
    return tagged(asked, reply, entityTag(found.version, found.status.state), found);
  }

  @Put(':mapping')
  @Scopes('write')
  @Describe({
    tag,
    summary: 'Create or replace a mapping',
    write: 'configuration',
    body: MappingReplaceInput,
    answers: { ...written, 201: writtenMappingSchema },
  })
  async replace(
    @Param('gateway') gateway: string,
    @Param('mapping') name: string,
    @JsonBody() body: Json,
    @ConfigurationWrite() write: WriteRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    const change = { mode: 'upsert', input: parseMappingReplace(name, body) } as const;
    const about = { gateway, name, service: change.input.service };
    return this.write(about, write, reply, (request) => new UpdateMapping(gateway, name, change, request));
  }

  @Patch(':mapping')
  @Scopes('write')
  @Describe({ tag, summary: 'Change a mapping by a merge patch (RFC 7396)', write: 'configuration', body: MappingPatch, answers: written })
  async merge(
    @Param('gateway') gateway: string,
    @Param('mapping') name: string,
    @JsonBody() body: Json,
    @ConfigurationWrite() write: WriteRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    const change = { mode: 'merge', patch: parseMappingPatch(name, body) } as const;
    const about = { gateway, name, service: change.patch.service };
    return this.write(about, write, reply, (request) => new UpdateMapping(gateway, name, change, request));
  }

  @Delete(':mapping')
  @Scopes('write')
  @Describe({ tag, summary: 'Delete a mapping', write: 'configuration', answers: { 200: z.union([deletedMappingSchema, dryRunSchema]) } })
  async remove(
    @Param('gateway') gateway: string,
    @Param('mapping') name: string,
    @ConfigurationWrite() write: WriteRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    const request = await this.commands.requestFor(write, `gateway/${gateway}`, mappingSubject(name));
    const outcome = await this.commands.run(new DeleteMapping(gateway, name, request), write.context);
    if (outcome.dryRun) return dryRunAnswer(reply, outcome);
    writeHeaders(reply, outcome, mappingSubject(name));
    return { name, deleted: true, gatewayVersion: outcome.version, ...testedRoutes(outcome) };
  }

  /** Runs a write of one mapping and answers it: 201 with Location for a new one, else 200. */
  private async write(
    { gateway, name, service }: { readonly gateway: string; readonly name: string; readonly service: string | undefined },
    write: WriteRequest,
    reply: FastifyReply,
    command: (request: CommandRequest) => Command<Outcome>,
  ): Promise<object> {
    const subject = mappingSubject(name);
    const request = await this.commands.requestFor(write, `gateway/${gateway}`, subject);
    const writing = this.commands.run(command(request), write.context);
    const beside = this.queries.begin(new ReadSurroundings(gateway, service));
    const outcome = await writing;
    const state = fromJson(name, subjectState(outcome, subject) ?? {});
    const warnings = await this.queries.run(new FindMappingWarnings(gateway, state, outcome, beside));
    if (outcome.dryRun) return dryRunAnswer(reply, outcome, warnings);
    writeHeaders(reply, outcome, subject);
    const created = outcome.events.some((event) => event.type === 'MappingCreated');
    reply.status(created ? 201 : 200);
    if (created) reply.header('Location', `/v1/gateways/${gateway}/mappings/${name}`);
    return { ...state, ...standing(outcome, subject), warnings, ...testedRoutes(outcome) };
  }
}

/** Right after a write nothing is proven yet; a read says how it goes on. What changed nothing was recorded when it was. */
function standing(outcome: Outcome, subject: string): object {
  const before = outcome.unchanged ? outcome.before.get(subject) : undefined;
  const message = outcome.unchanged
    ? 'Nothing changed; read the mapping to see where it stands.'
    : 'Recorded a moment ago; read the mapping to see it go live.';
  return {
    version: subjectVersion(outcome, subject),
    gatewayVersion: before?.streamVersion ?? outcome.version,
    recordedAt: before?.recordedAt ?? outcome.recordedAt,
    status: { state: 'pending', reasons: [{ code: 'not_proven', message, since: null }] },
  };
}
