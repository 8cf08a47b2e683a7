import { Controller, Delete, Get, Param, Post } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';

import { Scopes } from '#platform/http/access.decorators.js';
import { isoTime, pageSchema } from '#platform/http/answer-schemas.js';
import { CommandRunner } from '#platform/http/command-runner.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { entityTag } from '#platform/http/entity-tag.js';
import { JsonBody } from '#platform/http/json-body.js';
import { answerPage, decodeCursor, type Page, pageParameters, toPage } from '#platform/http/page.js';
import { QueryBy } from '#platform/http/query-parameters.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer, Asked } from '#platform/http/request-context.js';
import { writeHeaders } from '#platform/http/write-answer.js';
import { Write, type WriteRequest } from '#platform/http/write-request.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Json } from '#platform/kernel/json.js';

import { ACCESS_STREAM, tokenSubject } from './access.js';
import { CreateToken } from './create-token.js';
import { GetToken, ListTokens, type TokenView, tokenView } from './list-tokens.js';
import { RevokeToken } from './revoke-token.js';
import { parseTokenInput, TokenCreateInput } from './token-input.js';

const tag = 'Tokens';
const fields = {
  id: z.string(),
  name: z.string(),
  scopes: z.array(z.string()),
  state: z.enum(['active', 'expired', 'revoked']),
  createdAt: isoTime,
  createdBy: z.string(),
  expiresAt: isoTime,
  revokedAt: isoTime.nullable(),
  firstUsedAt: isoTime.nullable().describe('When it was first let in; null while it has not been.'),
};
const tokenSchema = z.object(fields);
const issuedSchema = z.object({ ...fields, token: z.string().describe('The secret. Shown this once.') });
const wouldIssueSchema = z.object({ dryRun: z.literal(true), would: z.object({ ...fields, id: z.null() }) });
const revokedSchema = z.object({ id: z.string(), state: z.literal('revoked') });
const wouldRevokeSchema = z.object({ dryRun: z.literal(true), wouldRevoke: z.string() });

const listParameters = z.strictObject(pageParameters);

/** /v1/tokens. Needs `admin`, reading too: the list says who may do what. */
@Controller('v1/tokens')
@Scopes('admin')
export class TokenController {
  constructor(
    private readonly commands: CommandRunner,
    private readonly queries: QueryRunner,
  ) {}

  @Get()
  @Describe({ tag, summary: 'List tokens; never their secrets', query: listParameters, answers: { 200: pageSchema(tokenSchema) } })
  async list(
    @QueryBy(listParameters) query: z.infer<typeof listParameters>,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<Page<TokenView>> {
    const after = query.cursor === undefined ? undefined : decodeCursor('tokens', 'string', query.cursor);
    const rows = await this.queries.run(new ListTokens({ after, limit: query.limit }));
    return answerPage(
      asked,
      reply,
      toPage(rows, query.limit, 'tokens', (token) => token.id),
    );
  }

  @Get(':token')
  @Describe({ tag, summary: 'Read a token; never its secret', answers: { 200: tokenSchema } })
  async read(@Param('token') id: string, @Answer() reply: FastifyReply): Promise<TokenView> {
    const found = await this.queries.run(new GetToken(id));
    if (found === undefined) throw new DomainError('not_found', 'token_not_found', 'There is no token of this id.');
    reply.header('ETag', entityTag(found.version));
    return found.view;
  }

  /** The answer's `token` is the secret; it is shown this once. */
  @Post()
  @Describe({
    tag,
    summary: 'Create a token; the answer shows its secret, once',
    write: true,
    body: TokenCreateInput,
    answers: { 200: wouldIssueSchema, 201: issuedSchema },
  })
  async create(@JsonBody() body: Json, @Write() write: WriteRequest, @Answer() reply: FastifyReply): Promise<object> {
    const request = { context: write.context, dryRun: write.dryRun };
    const issued = await this.commands.execute(new CreateToken(parseTokenInput(body), request), write.context, (result) => result.outcome);
    const view = tokenView(issued.state, Date.now());
    if (write.dryRun) {
      reply.status(200).header('Dry-Run', 'true');
      return { dryRun: true, would: { ...view, id: null } };
    }
    writeHeaders(reply, issued.outcome, tokenSubject(view.id));
    reply.status(201).header('Location', `/v1/tokens/${view.id}`);
    return { ...view, token: issued.secret };
  }

  @Delete(':token')
  @Describe({
    tag,
    summary: 'Revoke a token; it is refused everywhere within 5 s',
    write: true,
    answers: { 200: z.union([revokedSchema, wouldRevokeSchema]) },
  })
  async revoke(@Param('token') id: string, @Write() write: WriteRequest, @Answer() reply: FastifyReply): Promise<object> {
    const subject = tokenSubject(id);
    const request = await this.commands.requestFor(write, ACCESS_STREAM, subject);
    const outcome = await this.commands.run(new RevokeToken(id, request), write.context);
    if (outcome.dryRun) {
      reply.header('Dry-Run', 'true');
      return { dryRun: true, wouldRevoke: id };
    }
    writeHeaders(reply, outcome, subject);
    return { id, state: 'revoked' };
  }
}
