import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

import { Controller, Get, Param, StreamableFile } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';

import { Scopes } from '#platform/http/access.decorators.js';
import { Describe } from '#platform/http/describe.decorator.js';
import { openApiDocument } from '#platform/http/openapi.js';
import { Answer } from '#platform/http/request-context.js';
import { DomainError } from '#platform/kernel/errors.js';

import { Build } from './build.js';
import { docsPage, docsScript } from './docs-page.js';
import { RouteDescriptions } from './route-descriptions.js';

/** The files of Swagger UI that the page uses, and no other of that folder. Served from here: the page loads nothing from elsewhere. */
const types: Readonly<Record<string, string>> = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'favicon-32x32.png': 'image/png',
};
const require = createRequire(import.meta.url);
/** The pages are those of the Swagger UI that @nestjs/swagger brings along. */
const swaggerUi = dirname(createRequire(require.resolve('@nestjs/swagger')).resolve('swagger-ui-dist/package.json'));
const tag = 'System';

/** The interface, described for programs and for people. */
@Controller()
@Scopes('read')
export class InterfaceController {
  #document: object | undefined;

  constructor(
    private readonly routes: RouteDescriptions,
    private readonly build: Build,
  ) {}

  @Get('v1/openapi.json')
  @Describe({ tag, summary: 'The interface description (OpenAPI 3.1)', answers: { 200: z.looseObject({ openapi: z.string() }) } })
  document(): object {
    this.#document ??= openApiDocument(this.routes.all(), { version: this.build.version });
    return this.#document;
  }

  @Get('docs')
  @Describe({ tag, summary: 'The interface description as a page', answers: { 200: 'HTML.' } })
  page(@Answer() reply: FastifyReply): string {
    const policy =
      "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'";
    reply.header('Content-Type', 'text/html; charset=utf-8').header('Content-Security-Policy', policy);
    return docsPage;
  }

  @Get('docs/:file')
  @Describe({ tag, summary: 'A part of that page', answers: { 200: 'A script, a style sheet or a picture.' } })
  async part(@Param('file') file: string, @Answer() reply: FastifyReply): Promise<string | StreamableFile> {
    if (file === 'start.js') {
      reply.header('Content-Type', 'text/javascript; charset=utf-8');
      return docsScript;
    }
    const type = Object.hasOwn(types, file) ? types[file] : undefined;
    if (type === undefined) throw new DomainError('not_found', 'route_unknown', 'There is nothing at this address.');
    return new StreamableFile(await readFile(join(swaggerUi, file)), { type });
  }
}
