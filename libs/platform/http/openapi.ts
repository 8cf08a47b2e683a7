import { z } from 'zod';

import { problemSchema } from './answer-schemas.js';
import type { RouteDescription } from './describe.decorator.js';
import { configurationWriteParameters, writeParameters } from './write-request.js';

/** A route as the interface description needs it. `url` has Fastify's form, `/v1/gateways/:gateway`. */
export interface DescribedRoute {
  readonly method: string;
  readonly url: string;
  readonly operationId: string;
  readonly public: boolean;
  readonly scopes: readonly string[];
  readonly description: RouteDescription | undefined;
}

type Schema = Record<string, unknown>;

const writeHeaders: Schema[] = [
  headerParameter(
    'If-Match',
    'Only if the thing is at one of these versions: `"3"`, a list, or `*` for any; `"g12"`: only if nothing of the gateway changed since its version 12. Else 412.',
  ),
  headerParameter('If-None-Match', '`*`: only if there is no such thing yet. Else 412.'),
  headerParameter(
    'Idempotency-Key',
    '8 to 255 visible characters. The same request under the same key is carried out once and gets the same answer.',
  ),
  headerParameter('Chancery-Reason', 'Why; kept in the record. As `?reason=`.'),
];

/** The interface description, OpenAPI 3.1, out of what the routes say of themselves. */
export function openApiDocument(routes: readonly DescribedRoute[], info: { readonly version: string }): Schema {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of [...routes].sort((a, b) => (a.url < b.url ? -1 : a.url > b.url ? 1 : 0))) {
    const path = route.url.replaceAll(/:([A-Za-z]+)/g, '{$1}');
    paths[path] ??= {};
    paths[path][route.method.toLowerCase()] = operation(route);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Chancery',
      version: info.version,
      description:
        'An event-sourced configuration service for Envoy API gateways. Every write is a version that can be read, compared and restored. ' +
        'Refusals are problem documents (RFC 9457) with a stable `code`; under /ambassador they have the shape of the first Ambassador.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    tags: [...new Set(routes.map((route) => route.description?.tag ?? 'System'))].sort().map((name) => ({ name })),
    paths,
    components: {
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'chy_<id>_<secret>' },
        basic: { type: 'http', scheme: 'basic', description: 'Any user, a token as the password.' },
      },
      schemas: { Problem: jsonSchema(problemSchema, 'output') },
    },
  };
}

function operation(route: DescribedRoute): Schema {
  const { description } = route;
  const scopes = route.scopes.map((scope) => `\`${scope}\``).join(', ');
  const access = route.public ? 'Open to everyone.' : `Needs a token with the scope ${scopes}.`;
  return {
    operationId: route.operationId,
    tags: [description?.tag ?? 'System'],
    summary: description?.summary ?? '',
    description: [description?.details, access].filter((line) => line !== undefined).join('\n\n'),
    security: route.public ? [] : [{ bearer: [] }, { basic: [] }],
    'x-required-scopes': route.scopes,
    parameters: parameters(route),
    ...(description?.body === undefined ? {} : { requestBody: requestBody(route.method, description) }),
    responses: { ...answers(description), default: refusal(route.url) },
  };
}

function parameters(route: DescribedRoute): Schema[] {
  const inPath = [...route.url.matchAll(/:([A-Za-z]+)/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  const { write, query } = route.description ?? {};
  const ofWrite = write === undefined ? [] : queryParameters(write === 'configuration' ? configurationWriteParameters : writeParameters);
  const inQuery = [...ofWrite, ...(query === undefined ? [] : queryParameters(query))];
  const inHeader = write === undefined ? [] : writeHeaders;
  return [...inPath, ...inQuery, ...inHeader];
}

function queryParameters(schema: z.ZodObject): Schema[] {
  const { properties = {} } = jsonSchema(schema, 'input') as { properties?: Record<string, Schema> };
  return Object.entries(properties).map(([name, { description, ...rest }]) => ({
    name,
    in: 'query',
    required: false,
    description: description ?? '',
    schema: rest,
  }));
}

function headerParameter(name: string, description: string): Schema {
  return { name, in: 'header', required: false, description, schema: { type: 'string' } };
}

function requestBody(method: string, description: RouteDescription): Schema {
  const schema = description.body === undefined ? {} : jsonSchema(description.body, 'input');
  const types = description.bodyTypes ?? (method === 'PATCH' ? ['application/merge-patch+json', 'application/json'] : ['application/json']);
  return { required: description.bodyOptional !== true, content: contentOf(types, schema) };
}

function answers(description: RouteDescription | undefined): Schema {
  const given = Object.entries(description?.answers ?? {});
  const types = ['application/json', ...(description?.answersAs ?? [])];
  return Object.fromEntries(
    given.map(([status, answer]) => [
      status,
      typeof answer === 'string'
        ? { description: answer }
        : { description: status === '200' ? 'OK' : 'Done', content: contentOf(types, jsonSchema(answer, 'output')) },
    ]),
  );
}

function contentOf(types: readonly string[], schema: Schema): Schema {
  return Object.fromEntries(types.map((type) => [type, { schema }]));
}

/** A refusal of the original's routes has the original's shape. */
function refusal(url: string): Schema {
  if (!url.startsWith('/ambassador/')) {
    return { description: 'Refused.', content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } } };
  }
  const schema = {
    type: 'object',
    properties: { ok: { const: false }, error: { type: 'string' }, code: { type: 'string' } },
    required: ['ok', 'error', 'code'],
  };
  return { description: 'Refused.', content: { 'application/json': { schema } } };
}

/** The JSON schema (draft 2020-12, which OpenAPI 3.1 speaks) of what comes in or goes out. */
function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): Schema {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' });
  return rest;
}
