import { describe, expect, test } from '@jest/globals';

import { DomainError } from '#platform/kernel/errors.js';

import { limits } from './limits.js';
import { checkMapping, parseMappingCreate } from './mapping-input.js';
import { parseService } from './service-reference.js';

/* The other side of the hostile inputs: what must be accepted, and what becomes of it. */

const base = { service: 'usersvc', prefix: '/x/' };

describe('hosts', () => {
  test.each([
    ['*', '*'],
    ['API.Example.COM', 'api.example.com'],
    ['api.example.com.', 'api.example.com'],
    ['*.example.com', '*.example.com'],
    ['*.com', '*.com'],
    ['xn--bcher-kva.example', 'xn--bcher-kva.example'],
    ['localhost', 'localhost'],
    ['10.0.0.1', '10.0.0.1'],
    [`${'a'.repeat(63)}.com`, `${'a'.repeat(63)}.com`],
  ])('%s', (host, expected) => {
    expect(checkMapping('m', { ...base, host }).host).toBe(expected);
  });
});

describe('prefixes and paths', () => {
  test.each([
    '/',
    '/user',
    '/user/',
    '/a.b',
    '/...',
    '/.hidden',
    '/a/..b',
    '/a;v=1/',
    "/it's",
    '/%C3%A9',
    '/100%25',
    '/a+b',
    '/(x)',
    '/@me',
    '/a:b',
    '/~x',
    '/$x',
    '/[x]',
    '/.well-known/',
    '/.well-known/chancery-x',
    `/${'x'.repeat(2047)}`,
  ])('%s', (text) => {
    expect(checkMapping('m', { ...base, prefix: text }).prefix).toBe(text);
    expect(checkMapping('m', { service: 'usersvc', path: text }).path).toBe(text);
  });
});

describe('TLS to a service', () => {
  const https = { prefix: '/x/', service: 'https://api' };
  test('what is said is kept whole, and nothing said is nothing', () => {
    expect(checkMapping('m', { ...https, tls: { sni: 'api.example.com' } }).tls).toEqual({
      sni: 'api.example.com',
      caBundle: null,
      certificate: null,
    });
    expect(checkMapping('m', { ...https, tls: {} })).not.toHaveProperty('tls');
    expect(checkMapping('m', https)).not.toHaveProperty('tls');
  });

  test.each([
    ['over http', { ...https, service: 'api', tls: { sni: 'a.example' } }, '/tls'],
    ['a wildcard to ask for', { ...https, tls: { sni: '*.example' } }, '/tls/sni'],
    ['no authority', { ...https, tls: { caBundle: 'x' } }, '/tls/caBundle'],
    ['a certificate that nothing is called', { ...https, tls: { certificate: 'a/b' } }, '/tls/certificate'],
  ])('refused: %s', (_case, body, pointer) => {
    const refusal = () => {
      try {
        checkMapping('m', body);
        return [];
      } catch (error) {
        return (error as { errors: { pointer: string }[] }).errors.map((one) => one.pointer);
      }
    };
    expect(refusal()).toEqual([pointer]);
  });
});

describe('services', () => {
  test.each([
    ['usersvc', 'http://usersvc:80'],
    ['UserSvc', 'http://usersvc:80'],
    ['usersvc.default', 'http://usersvc.default:80'],
    ['usersvc:8080', 'http://usersvc:8080'],
    ['http://usersvc', 'http://usersvc:80'],
    ['https://usersvc', 'https://usersvc:443'],
    ['HTTPS://usersvc:8443', 'https://usersvc:8443'],
    ['10.0.0.1:65535', 'http://10.0.0.1:65535'],
    ['[FD00:0::1]', 'http://[fd00::1]:80'],
    ['https://[2001:db8::1]:1', 'https://[2001:db8::1]:1'],
    ['a1', 'http://a1:80'],
    ['xn--bcher-kva', 'http://xn--bcher-kva:80'],
    ['localhost:1', 'http://localhost:1'],
  ])('%s is %s', (text, key) => {
    expect(parseService(text).key).toBe(key);
  });
});

test('everything at its limit is accepted, one more is not', () => {
  const full = {
    name: 'a'.repeat(limits.nameLength),
    prefix: '/x/',
    service: 'usersvc',
    headers: Object.fromEntries(Array.from({ length: 4 }, (_, i) => [`x-${i}`, 'v'.repeat(limits.headerValueLength)])),
    labels: Object.fromEntries(Array.from({ length: limits.labels }, (_, i) => [`l${i}`, 'ü'.repeat(10)])),
    precedence: limits.precedenceMin,
    timeoutMs: limits.timeoutMaxMs,
  };
  expect(parseMappingCreate(full)).toMatchObject({ precedence: -1000, timeoutMs: 3_600_000 });
});

test('a mapping that is too large as a whole is refused, though every part is within its limit', () => {
  const headers = Object.fromEntries(Array.from({ length: limits.headers }, (_, i) => [`x-${i}`, 'v'.repeat(limits.headerValueLength)]));
  expect(() => checkMapping('m', { ...base, headers })).toThrow(expect.objectContaining({ code: 'mapping_too_large' }));
});

test('all that is wrong is said at once', () => {
  try {
    checkMapping('-', { prefix: 'x', service: '', methods: ['get'], timeoutMs: 0 });
  } catch (error) {
    const { errors } = error as DomainError;
    expect(errors.map(({ pointer }) => pointer)).toEqual(['/name', '/prefix', '/service', '/timeoutMs', '/methods/0']);
    return;
  }
  throw new Error('it was accepted');
});
