import { describe, expect, it } from '@jest/globals';

import { DomainError, type ErrorKind } from '#platform/kernel/errors.js';

import { CommandFailure, exitStatusOfError, exitStatusOfHttp } from './exit-status.js';
import { refusalOf } from './problem-report.js';
import { transportFault, unreachable } from './transport-faults.js';
import { UsageError } from './usage-error.js';

const connection = { url: 'http://127.0.0.1:8888', urlSource: '--api', token: { value: 'chy_secret', source: '--token-file t' } };

describe('exit statuses', () => {
  it.each([
    [400, 2],
    [401, 6],
    [403, 6],
    [404, 1],
    [409, 5],
    [410, 1],
    [412, 5],
    [413, 2],
    [422, 2],
    [428, 2],
    [429, 1],
    [500, 1],
    [503, 1],
    [504, 3],
  ])('of HTTP %i is %i', (status, exit) => {
    expect(exitStatusOfHttp(status)).toBe(exit);
  });

  it.each<[ErrorKind, number]>([
    ['malformed', 2],
    ['invalid', 2],
    ['too_large', 2],
    ['precondition_required', 2],
    ['conflict', 5],
    ['stale', 5],
    ['unauthenticated', 6],
    ['forbidden', 6],
    ['not_found', 1],
    ['too_many', 1],
    ['unavailable', 1],
  ])('of the refusal %s is %i, as over HTTP', (kind, exit) => {
    expect(exitStatusOfError(new DomainError(kind, 'code', 'message'))).toBe(exit);
  });

  it('of what else ends a command', () => {
    expect(exitStatusOfError(new UsageError('x'))).toBe(2);
    expect(exitStatusOfError(new CommandFailure('x', 4))).toBe(4);
    expect(exitStatusOfError(new Error('x'))).toBe(1);
    expect(exitStatusOfError('x')).toBe(1);
  });
});

describe('a refusal', () => {
  it('says its detail, each fault with its pointer, and the next step', () => {
    const errors = [{ pointer: '/changes/0/value/prefix', code: 'path_not_absolute', message: 'It must start with "/".' }];
    const refusal = refusalOf(422, { code: 'changeset_invalid', detail: 'One change is\u001b[31m wrong.', errors }, connection);
    expect(refusal.message).toBe(
      'One change is\\u001b[31m wrong. (changeset_invalid)\n  /changes/0/value/prefix: It must start with "/". (path_not_absolute)',
    );
    expect(refusal.nextStep).toBeUndefined();
  });

  it('names what stands in the way of a revert', () => {
    const conflicts = [{ subject: 'mapping/user', pointer: '/timeoutMs', laterVersion: 14, message: 'It was changed again.' }];
    const { message, nextStep } = refusalOf(409, { code: 'revert_conflict', detail: 'No.', conflicts }, connection);
    expect(message).toContain('mapping/user/timeoutMs, changed by version 14: It was changed again.');
    expect(nextStep).toContain('revert those first');
  });

  it('tells where the token came from, and never the token', () => {
    for (const status of [401, 403]) {
      const { nextStep, message } = refusalOf(status, { detail: 'No.', missingScopes: ['write'] }, connection);
      expect(nextStep).toContain('The token came from --token-file t.');
      expect(`${nextStep}${message}`).not.toContain('chy_secret');
    }
    expect(refusalOf(403, { missingScopes: ['write'] }, connection).nextStep).toContain('the scope write');
    expect(refusalOf(401, {}, { ...connection, token: undefined }).nextStep).toContain('No token was found for http://127.0.0.1:8888');
  });

  it('is understood whatever the other side sends', () => {
    expect(refusalOf(500, {}, connection).message).toBe('HTTP 500');
    const odd = { detail: 'x', errors: 'none' as never, conflicts: 3 };
    expect(refusalOf(409, odd, connection).message).toBe('x');
  });
});

describe('a request without an answer', () => {
  const caused = (cause: object) => Object.assign(new TypeError('fetch failed'), { cause: Object.assign(new Error('why'), cause) });

  it.each([
    [{ code: 'ECONNREFUSED' }, 'unreachable'],
    [{ code: 'ENOTFOUND' }, 'unreachable'],
    [{ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }, 'unreachable'],
    [{ code: 'ECONNRESET' }, 'lost'],
    [{ code: 'UND_ERR_SOCKET' }, 'lost'],
  ])('caused by %j is %s', (cause, kind) => {
    expect(transportFault(caused(cause)).kind).toBe(kind);
  });

  it('that took too long is a timeout, and one to several addresses is told by the first', () => {
    expect(transportFault(new DOMException('', 'TimeoutError')).kind).toBe('timeout');
    const many = new AggregateError([Object.assign(new Error('why'), { code: 'ECONNREFUSED' })]);
    expect(transportFault(Object.assign(new TypeError('fetch failed'), { cause: many }))).toMatchObject({
      kind: 'unreachable',
      code: 'ECONNREFUSED',
    });
  });

  it('says where nothing listens and how to start it', () => {
    const failure = unreachable(connection, { kind: 'unreachable', code: 'ECONNREFUSED', message: '' }, 'http://127.0.0.1:8888/v1');
    expect(failure.message).toContain('http://127.0.0.1:8888');
    expect(failure.nextStep).toContain('bin/dev');
    const far = unreachable(connection, { kind: 'unreachable', code: 'ECONNREFUSED', message: '' }, 'https://far.example/v1');
    expect(far.nextStep).not.toContain('bin/dev');
  });
});
