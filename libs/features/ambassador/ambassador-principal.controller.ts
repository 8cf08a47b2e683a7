import { randomUUID } from 'node:crypto';

import { Controller, Delete, Get, HttpCode, Param, Post, Put } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';

import { DeletePrincipal } from '#features/principal/delete-principal.js';
import { ListPrincipals, ReadPrincipal } from '#features/principal/list-principals.js';
import { checkPrincipalName, PrincipalInput, parsePrincipal } from '#features/principal/principal-input.js';
import { PutPrincipal } from '#features/principal/put-principal.js';
import { RequestRedeployment } from '#features/rollout/request-redeployment.js';
import { Scopes } from '#platform/http/access.decorators.js';
import { CommandRunner } from '#platform/http/command-runner.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { JsonBody } from '#platform/http/json-body.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer } from '#platform/http/request-context.js';
import { dryRunAnswer, writeHeaders } from '#platform/http/write-answer.js';
import { ConfigurationWrite, type WriteRequest } from '#platform/http/write-request.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Json } from '#platform/kernel/json.js';

import { GATEWAY } from './ambassador.controller.js';
import * as answers from './ambassador-answers.js';
import { Envelope } from './envelope.js';

const tag = 'Ambassador';

/** /ambassador/principal...: the clients that their certificates vouch for. Stored, listed and answered; not enforced yet. */
@Controller()
export class AmbassadorPrincipalController {
  constructor(
    private readonly commands: CommandRunner,
    private readonly queries: QueryRunner,
    private readonly envelope: Envelope,
  ) {}

  @Get('ambassador/principals')
  @Scopes('read')
  @Describe({ tag, summary: 'List principals by name', answers: { 200: answers.principalsSchema } })
  async list(): Promise<object> {
    const principals = (await this.queries.run(new ListPrincipals(GATEWAY))).map(({ name, fingerprint }) => ({ name, fingerprint }));
    return this.envelope.ok({ count: principals.length, principals });
  }

  @Put('ambassador/principals')
  @Scopes('deploy')
  @Describe({
    tag,
    summary: 'Push the current version again',
    write: 'configuration',
    answers: { 200: z.union([answers.messageSchema, answers.dryRunEnvelopeSchema]) },
  })
  async reconfigure(@ConfigurationWrite() write: WriteRequest, @Answer() reply: FastifyReply): Promise<object> {
    const input = { id: randomUUID(), reason: write.context.reason ?? 'reconfigure requested', force: false };
    const outcome = await this.commands.run(
      new RequestRedeployment(GATEWAY, input, { context: write.context, dryRun: write.dryRun }),
      write.context,
    );
    if (outcome.dryRun) return this.envelope.ok(dryRunAnswer(reply, outcome));
    return this.envelope.ok({ msg: 'reconfigure requested' });
  }

  @Post('ambassador/principal/:name')
  @HttpCode(200)
  @Scopes('write')
  @Describe({
    tag,
    summary: 'Create or replace a principal',
    write: 'configuration',
    body: PrincipalInput,
    answers: { 200: z.union([answers.storedSchema, answers.dryRunEnvelopeSchema]) },
  })
  async put(
    @Param('name') name: string,
    @JsonBody() body: Json,
    @ConfigurationWrite() write: WriteRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    const state = parsePrincipal(name, body);
    const request = await this.commands.requestFor(write, `gateway/${GATEWAY}`, `principal/${name}`);
    const outcome = await this.commands.run(new PutPrincipal(GATEWAY, state, request), write.context);
    if (outcome.dryRun) return this.envelope.ok(dryRunAnswer(reply, outcome));
    writeHeaders(reply, outcome, `principal/${name}`);
    return this.envelope.ok({ name });
  }

  @Get('ambassador/principal/:name')
  @Scopes('read')
  @Describe({ tag, summary: 'Read a principal', answers: { 200: answers.principalAnswerSchema } })
  async read(@Param('name') name: string): Promise<object> {
    const found = await this.queries.run(new ReadPrincipal(GATEWAY, name));
    if (found === undefined) throw new DomainError('not_found', 'principal_not_found', 'There is no principal of this name.');
    return this.envelope.ok({ name: found.name, fingerprint: found.fingerprint });
  }

  @Delete('ambassador/principal/:name')
  @Scopes('write')
  @Describe({
    tag,
    summary: 'Delete a principal; one that is not there is ok too',
    write: 'configuration',
    answers: { 200: z.union([answers.principalDeletedSchema, answers.dryRunEnvelopeSchema]) },
  })
  async remove(@Param('name') name: string, @ConfigurationWrite() write: WriteRequest, @Answer() reply: FastifyReply): Promise<object> {
    checkPrincipalName(name);
    const request = await this.commands.requestFor(write, `gateway/${GATEWAY}`, `principal/${name}`);
    const outcome = await this.commands.run(new DeletePrincipal(GATEWAY, name, request), write.context);
    if (outcome.dryRun) return this.envelope.ok(dryRunAnswer(reply, outcome));
    writeHeaders(reply, outcome, `principal/${name}`);
    return this.envelope.ok({ name, deleted: outcome.events.length });
  }

  @Get('v1/certs/list/approved')
  @Scopes('read')
  @Describe({ tag, summary: 'List the certificates of the principals', answers: { 200: answers.approvedSchema } })
  async approved(): Promise<object> {
    const principals = await this.queries.run(new ListPrincipals(GATEWAY));
    return this.envelope.ok({ certificates: principals.map((principal) => ({ fingerprint_sha256: principal.sha256 })) });
  }
}
