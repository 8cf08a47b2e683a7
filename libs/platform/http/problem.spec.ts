import { describe, expect, it } from '@jest/globals';
import { NotFoundException } from '@nestjs/common';

import { DomainError, type ErrorKind } from '#platform/kernel/errors.js';

import { HttpProblem } from './http-problem.js';
import { problemDocument, refusalOf } from './problem.js';

const statuses: Record<ErrorKind, number> = {
  malformed: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  gone: 410,
  stale: 412,
  too_large: 413,
  invalid: 422,
  precondition_required: 428,
  too_many: 429,
  unavailable: 503,
};

const coded = (code: string) => Object.assign(new Error('x'), { code });

describe('problems', () => {
  it.each(Object.entries(statuses))('answer %s with %d', (kind, status) => {
    const refused = refusalOf(new DomainError(kind as ErrorKind, 'some_code', 'Because.'));
    expect(refused).toMatchObject({ status, code: 'some_code', detail: 'Because.', unexpected: false });
    expect('Retry-After' in refused.headers).toBe(status === 429 || status === 503);
  });

  it('have the members of RFC 9457, whose values a refusal cannot overwrite', () => {
    const error = new DomainError('stale', 'version_mismatch', 'Old.', { extra: { currentVersion: 4, status: 200, code: 'x' } });
    expect(problemDocument(refusalOf(error), '/v1/x', 'r1')).toEqual({
      type: 'urn:chancery:problem:version_mismatch',
      title: 'Precondition failed',
      status: 412,
      detail: 'Old.',
      instance: '/v1/x',
      code: 'version_mismatch',
      currentVersion: 4,
      requestId: 'r1',
    });
  });

  it('tell nothing of a defect', () => {
    for (const error of [
      new Error('secret at /etc/passwd'),
      new TypeError('x of undefined'),
      'text',
      undefined,
      { message: 'secret' },
      coded('42P01'),
    ]) {
      const refused = refusalOf(error);
      expect(refused).toMatchObject({ status: 500, code: 'internal', unexpected: true });
      expect(JSON.stringify(refused)).not.toMatch(/secret|passwd|undefined/);
    }
  });

  it.each(['ECONNREFUSED', 'ECONNRESET', '57P01', '08006', '53300', '57014'])('answer a database that says %s with 503', (code) => {
    expect(refusalOf(coded(code))).toMatchObject({ status: 503, code: 'database_unavailable', unexpected: false });
  });

  it('know a connection that was lost without a code, and one that failed on every address', () => {
    expect(refusalOf(new Error('Connection terminated unexpectedly')).status).toBe(503);
    expect(refusalOf(new AggregateError([coded('ECONNREFUSED'), coded('ECONNREFUSED')])).status).toBe(503);
    expect(refusalOf(new Error('wrapped', { cause: coded('ECONNRESET') })).status).toBe(503);
  });

  it('pass on what HTTP itself refuses', () => {
    expect(refusalOf(new HttpProblem(415, 'media_type_unsupported', 'No.'))).toMatchObject({
      status: 415,
      title: 'Media type not supported',
    });
    expect(refusalOf(new NotFoundException('Cannot GET /x'))).toMatchObject({ status: 404, code: 'route_unknown' });
  });
});
