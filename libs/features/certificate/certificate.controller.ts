import { Controller, Delete, Get, Param, Put } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';

import { Scopes } from '#platform/http/access.decorators.js';
import { dryRunSchema, pageSchema } from '#platform/http/answer-schemas.js';
import { CommandRunner } from '#platform/http/command-runner.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { entityTag } from '#platform/http/entity-tag.js';
import { SmallJsonBody } from '#platform/http/json-body.js';
import { answerPage, decodeCursor, type Page, pageParameters, toPage } from '#platform/http/page.js';
import { QueryBy } from '#platform/http/query-parameters.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { Answer, Asked } from '#platform/http/request-context.js';
import { dryRunAnswer, subjectState, subjectVersion, writeHeaders } from '#platform/http/write-answer.js';
import { ConfigurationWrite, type WriteRequest } from '#platform/http/write-request.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Json } from '#platform/kernel/json.js';

import { type CertificateState, certificateSubject, publicFacts } from './certificate.js';
import {
  certificateSchema,
  certificateWithChainSchema,
  deletedCertificateSchema,
  writtenCertificateSchema,
} from './certificate-answers.js';
import { CertificateInput, checkCertificateName, MOST_BODY_BYTES, parseCertificate } from './certificate-input.js';
import { DeleteCertificate } from './delete-certificate.js';
import { expiryOf } from './expiry.js';
import { type CertificateView, ListCertificates, ReadCertificate } from './list-certificates.js';
import { PutCertificate } from './put-certificate.js';

const listParameters = z.strictObject(pageParameters);
const tag = 'Certificates';
const cursors = 'certificates';

/** /v1/gateways/{gateway}/certificates: what the gateway serves TLS with. Keys go in and never come out. */
@Controller('v1/gateways/:gateway/certificates')
export class CertificateController {
  constructor(
    private readonly commands: CommandRunner,
    private readonly queries: QueryRunner,
  ) {}

  @Get()
  @Scopes('read')
  @Describe({
    tag,
    summary: 'List certificates by name: how long each lasts, and what rests on it',
    query: listParameters,
    answers: { 200: pageSchema(certificateSchema) },
  })
  async list(
    @Param('gateway') gateway: string,
    @QueryBy(listParameters) { cursor, limit }: z.infer<typeof listParameters>,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<Page<CertificateView>> {
    const after = cursor === undefined ? undefined : decodeCursor(cursors, 'string', cursor);
    const rows = await this.queries.run(new ListCertificates(gateway, { after, limit: limit + 1 }));
    const page = toPage(rows, limit, cursors, (one) => one.name);
    return answerPage(asked, reply, page);
  }

  @Get(':certificate')
  @Scopes('read')
  @Describe({ tag, summary: 'Read a certificate with its chain', answers: { 200: certificateWithChainSchema } })
  async read(@Param('gateway') gateway: string, @Param('certificate') name: string, @Answer() reply: FastifyReply): Promise<object> {
    const found = await this.queries.run(new ReadCertificate(gateway, name));
    if (found === undefined) throw new DomainError('not_found', 'certificate_not_found', 'There is no certificate of this name.');
    reply.header('ETag', entityTag(found.version)).header('Chancery-Version', String(found.gatewayVersion));
    return found;
  }

  @Put(':certificate')
  @Scopes('certificates')
  @Describe({
    tag,
    summary: 'Set a certificate with its key, or exchange the one of this name',
    details:
      'Everything that Envoy or its clients would refuse is refused before anything is kept, each for a reason of its own. The same chain and key again are no change. The body may be at most 64 KiB.',
    write: 'configuration',
    body: CertificateInput,
    answers: { 200: z.union([writtenCertificateSchema, dryRunSchema]), 201: writtenCertificateSchema },
  })
  async replace(
    @Param('gateway') gateway: string,
    @Param('certificate') name: string,
    @SmallJsonBody(MOST_BODY_BYTES) body: Json,
    @ConfigurationWrite() write: WriteRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    const subject = certificateSubject(name);
    const input = { ...parseCertificate(name, body), source: 'api' as const };
    const request = await this.commands.requestFor(write, `gateway/${gateway}`, subject);
    const command = new PutCertificate(gateway, name, input, request);
    const { outcome, warnings } = await this.commands.execute(command, write.context, (result) => result.outcome);
    if (outcome.dryRun) return dryRunAnswer(reply, outcome, warnings);
    writeHeaders(reply, outcome, subject);
    const before = outcome.before.get(subject);
    const created = !outcome.unchanged && before?.state == null;
    reply.status(created ? 201 : 200);
    if (created) reply.header('Location', `/v1/gateways/${gateway}/certificates/${name}`);
    const facts = publicFacts(subjectState(outcome, subject) as CertificateState);
    return {
      ...facts,
      ...expiryOf(facts, new Date()),
      version: subjectVersion(outcome, subject),
      gatewayVersion: outcome.unchanged ? before?.streamVersion : outcome.version,
      recordedAt: outcome.unchanged ? before?.recordedAt : outcome.recordedAt,
      unchanged: outcome.unchanged,
      warnings,
    };
  }

  @Delete(':certificate')
  @Scopes('certificates')
  @Describe({
    tag,
    summary: 'Delete a certificate',
    details: 'Refused (409 `referenced`, with `by`) while the settings or a mapping use it.',
    write: 'configuration',
    answers: { 200: z.union([deletedCertificateSchema, dryRunSchema]) },
  })
  async remove(
    @Param('gateway') gateway: string,
    @Param('certificate') name: string,
    @ConfigurationWrite() write: WriteRequest,
    @Answer() reply: FastifyReply,
  ): Promise<object> {
    checkCertificateName(name);
    const request = await this.commands.requestFor(write, `gateway/${gateway}`, certificateSubject(name));
    const outcome = await this.commands.run(new DeleteCertificate(gateway, name, request), write.context);
    if (outcome.dryRun) return dryRunAnswer(reply, outcome);
    writeHeaders(reply, outcome, certificateSubject(name));
    return { name, deleted: true, gatewayVersion: outcome.version };
  }
}
