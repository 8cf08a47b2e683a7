import { Controller, HttpCode, Param, Post, Put } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';

import { SubjectKinds } from '#features/history/subject-kind.js';
import { FindSetWarnings } from '#features/mapping/find-set-warnings.js';
import type { CommandRequest } from '#platform/eventstore/command-request.js';
import type { Outcome } from '#platform/eventstore/event-store.js';
import { Scopes } from '#platform/http/access.decorators.js';
import { dryRunSchema } from '#platform/http/answer-schemas.js';
import { CommandRunner } from '#platform/http/command-runner.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { JsonOrYamlBody, LargeJsonBody } from '#platform/http/json-body.js';
import { formatOf, LargeBody, mediaTypeOf } from '#platform/http/large-body.js';
import { refusalOf } from '#platform/http/problem.js';
import { QueryBy } from '#platform/http/query-parameters.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer, Asked, requireCaller } from '#platform/http/request-context.js';
import type { Warning } from '#platform/http/write-answer.js';
import { ConfigurationWrite, configurationWriteParameters, readReason, type WriteRequest } from '#platform/http/write-request.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Json } from '#platform/kernel/json.js';

import { ApplyChangeset } from './apply-changeset.js';
import { setAnswer, setSchema } from './changeset-answers.js';
import { ChangesetInput, parseChangeset } from './changeset-input.js';
import { ImportConfiguration } from './import-configuration.js';
import { ConfigurationInput, importParameters, parseDocument } from './import-input.js';

const importQuery = configurationWriteParameters.extend(importParameters);
const tag = 'Changes';
const answers = { 200: z.union([setSchema, dryRunSchema.extend({ changeCount: z.int() })]) };

/** /v1/gateways/{gateway}/changesets and the writing half of /config: many changes as one version. */
@Controller('v1/gateways/:gateway')
export class ChangesetController {
  constructor(
    private readonly commands: CommandRunner,
    private readonly queries: QueryRunner,
    private readonly kinds: SubjectKinds,
  ) {}

  @Post('changesets')
  @HttpCode(200)
  @Scopes('write')
  @LargeBody()
  @Describe({
    tag,
    summary: 'Carry out many changes as one version, or none of them',
    details:
      'In their order, each seeing what those before it did. Every refusal is in `errors`, at `/changes/<i>/…`; the status is 400 when any is of the shape, 403 when any is of the scope, else that of the first.',
    write: 'configuration',
    body: ChangesetInput,
    answers,
  })
  async apply(
    @Param('gateway') gateway: string,
    @LargeJsonBody() body: Json,
    @ConfigurationWrite() write: WriteRequest,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    const { changes, reason, overrideQuarantine } = parseChangeset(body);
    const request = this.requestFor(write, { reason: readReason(reason) ?? write.context.reason ?? null, overrideQuarantine });
    const rules = { ...rightsOf(asked), overrideQuarantine };
    const outcome = await this.commands.run(new ApplyChangeset(gateway, changes, rules, request), write.context);
    const places = changes.flatMap((change, i) =>
      change instanceof DomainError ? [] : [[change.subject, `/changes/${i}/value`] as const],
    );
    return setAnswer(reply, outcome, await this.warnings(gateway, outcome, new Map(places)));
  }

  @Put('config')
  @Scopes('write')
  @LargeBody()
  @Describe({
    tag,
    summary: 'Make the configuration that of a document, as one version',
    details:
      'A section that is left out stays as it is; without `prune` nothing is deleted. The same document again changes nothing. `If-Match` is required (`"g12"` or `*`), but for a dry run.',
    write: 'configuration',
    query: z.strictObject(importParameters),
    body: ConfigurationInput,
    bodyTypes: ['application/json', 'application/yaml'],
    answers,
  })
  async import(
    @Param('gateway') gateway: string,
    @JsonOrYamlBody() body: Json,
    @QueryBy(importQuery) query: z.infer<typeof importQuery>,
    @ConfigurationWrite(importParameters) write: WriteRequest,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    checkFormat(query.format, asked);
    const { owner, prune = false, overrideQuarantine = false } = query;
    const document = parseDocument(body, this.kinds);
    const request = this.requestFor(write, { reason: write.context.reason ?? null, overrideQuarantine, required: true });
    const rules = { ...rightsOf(asked), overrideQuarantine };
    const outcome = await this.commands.run(new ImportConfiguration(gateway, document, { owner, prune }, rules, request), write.context);
    const places = document.sections.flatMap(({ kind, values }) =>
      values.map(({ value, pointer }) => [`${kind.name}/${String((value as { name?: unknown } | null)?.name)}`, pointer] as const),
    );
    return setAnswer(reply, outcome, await this.warnings(gateway, outcome, new Map(places)));
  }

  private requestFor(
    write: WriteRequest,
    { reason, overrideQuarantine, required = false }: { reason: string | null; overrideQuarantine: boolean; required?: boolean },
  ): CommandRequest {
    if (write.createOnly)
      throw new DomainError(
        'malformed',
        'if_none_match_malformed',
        'If-None-Match is for one thing; here say ifVersion: 0 of each, or If-Match.',
      );
    if (overrideQuarantine && reason === null) {
      const message = 'Say why the quarantine is overridden: give a reason.';
      throw new DomainError('invalid', 'reason_missing', message, { errors: [{ pointer: '/reason', code: 'reason_missing', message }] });
    }
    const { context, ...rest } = this.commands.requestForStream(write, { required });
    return { ...rest, context: { ...context, reason } };
  }

  private async warnings(gateway: string, outcome: Outcome, pointerOf: ReadonlyMap<string, string>): Promise<Warning[]> {
    if (outcome.unchanged) return [];
    try {
      return await this.queries.run(FindSetWarnings.of(gateway, outcome, pointerOf));
    } catch (error) {
      // What was recorded was recorded, and must be answered so.
      if (refusalOf(error).status !== 503) throw error;
      return [{ code: 'warnings_unknown', message: 'The database did not answer in time when it was looked for warnings.', pointer: '' }];
    }
  }
}

function rightsOf(asked: FastifyRequest): { mayConfigure: boolean; mayCertify: boolean } {
  const { scopes } = requireCaller(asked);
  return { mayConfigure: scopes.includes('admin'), mayCertify: scopes.includes('certificates') };
}

/** @throws DomainError malformed when the query calls the body something else than its Content-Type does. */
function checkFormat(format: string | undefined, asked: FastifyRequest): void {
  const type = mediaTypeOf(asked);
  if (format === undefined || format === formatOf(type)) return;
  const message = `format=${format} and "Content-Type: ${type.slice(0, 100)}" contradict each other; leave format out.`;
  throw new DomainError('malformed', 'format_contradicts', message, {
    errors: [{ pointer: '/format', code: 'format_contradicts', message }],
  });
}
