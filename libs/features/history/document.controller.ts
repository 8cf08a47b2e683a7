import { Controller, Get, Param } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';

import { Scopes } from '#platform/http/access.decorators.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { noneMatchHolds, streamTag } from '#platform/http/entity-tag.js';
import { QueryBy } from '#platform/http/query-parameters.js';
import { QueryRunner, WHOLE_READ_MS } from '#platform/http/query-runner.js';
import { Answer, Asked } from '#platform/http/request-context.js';

import { acceptedFormat, mediaTypes } from './document-format.js';
import { ReadConfiguration } from './read-configuration.js';
import { documentSchema } from './version-answers.js';
import { parseVersion } from './version-number.js';

const parameters = z.strictObject({
  format: z.enum(['json', 'yaml']).optional().describe('json (the default) or yaml; before what Accept says.'),
});
const described = {
  tag: 'History',
  details:
    'Canonical: equal configurations are equal bytes, and have the same Chancery-Digest (SHA-256 of the canonical JSON). As YAML with `format=yaml` or `Accept: application/yaml`.',
  query: parameters,
  answers: { 200: documentSchema, 304: 'Unchanged.' },
  answersAs: ['application/yaml'],
};

/** A gateway's configuration as one document, as it is and as it was. */
@Controller('v1/gateways/:gateway')
@Scopes('read')
export class DocumentController {
  constructor(private readonly queries: QueryRunner) {}

  @Get('config')
  @Describe({ summary: 'Read the whole configuration as a document', ...described })
  head(
    @Param('gateway') gateway: string,
    @QueryBy(parameters) query: z.infer<typeof parameters>,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<string | undefined> {
    return this.answer(gateway, undefined, query, asked, reply);
  }

  @Get('versions/:version/config')
  @Describe({ summary: 'Read the whole configuration as it was at a version', ...described })
  past(
    @Param('gateway') gateway: string,
    @Param('version') number: string,
    @QueryBy(parameters) query: z.infer<typeof parameters>,
    @Asked() asked: FastifyRequest,
    @Answer() reply: FastifyReply,
  ): Promise<string | undefined> {
    return this.answer(gateway, parseVersion(number) ?? 0, query, asked, reply);
  }

  /** `version` undefined: the head. */
  private async answer(
    gateway: string,
    version: number | undefined,
    query: z.infer<typeof parameters>,
    asked: FastifyRequest,
    reply: FastifyReply,
  ): Promise<string | undefined> {
    const format = query.format ?? acceptedFormat(asked.headers.accept);
    const isHeld = (held: number) => noneMatchHolds(asked.headers['if-none-match'], streamTag(held));
    const { version: read, document } = await this.queries.run(new ReadConfiguration(gateway, version, format, isHeld), WHOLE_READ_MS);
    reply.headers({ ETag: streamTag(read), 'Chancery-Version': String(read), Vary: 'Accept' });
    if (document === null) reply.status(304);
    else reply.header('Chancery-Digest', document.digest).type(mediaTypes[format]);
    return document?.text;
  }
}
