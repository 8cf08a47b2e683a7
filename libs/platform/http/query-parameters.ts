import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';

import { DomainError, type FieldError } from '#platform/kernel/errors.js';
import { pointerTo } from '#platform/kernel/pointer.js';

/** `?flag`, `?flag=true`, `?flag=false`. */
export const flagParameter = z
  .enum(['', 'true', 'false', '1', '0'], { error: 'must be true or false' })
  .transform((text) => text !== 'false' && text !== '0')
  .optional();

/**
 * Reads the query by a strict schema: an unknown or repeated parameter is refused rather than ignored, because a filter that is
 * spelt wrong and ignored answers with everything.
 * @throws DomainError malformed `query_invalid`, with a pointer per parameter.
 */
export function parseQuery<S extends z.ZodType>(schema: S, request: FastifyRequest): z.infer<S> {
  const result = schema.safeParse({ ...(request.query as Record<string, unknown>) });
  if (result.success) return result.data;
  const errors = result.error.issues.flatMap(queryErrors);
  throw new DomainError('malformed', 'query_invalid', `The query cannot be used: ${errors.map((fault) => fault.message).join('; ')}`, {
    errors,
  });
}

function queryErrors(issue: z.core.$ZodIssue): FieldError[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      pointer: pointerTo(key),
      code: 'parameter_unknown',
      message: `there is no parameter "${key.slice(0, 64)}"`,
    }));
  }
  const pointer = pointerTo(...issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part)));
  return [{ pointer, code: 'parameter_invalid', message: `${pointer.slice(1)}: ${issue.message}` }];
}

/** Injects the query, read by the schema: `@QueryBy(schema) query`. (Given as the decorator's data, Nest would take the schema for a pipe.) */
export const QueryBy = (schema: z.ZodType): ParameterDecorator =>
  createParamDecorator((_data: unknown, context: ExecutionContext): unknown => parseQuery(schema, context.switchToHttp().getRequest()))();
