import { describe, expect, test } from '@jest/globals';

import { resolve } from './discovery.js';
import { parseServices } from './services-file.js';

const at = (address: string, port: number) => ({ address, port });
const lists = {
  settings: { usersvc: [at('10.0.0.1', 1)] },
  file: { usersvc: [at('10.0.0.2', 2)], other: [], 'ported:81': [at('10.0.0.3', 3)], ported: [at('10.0.0.4', 4)] },
  dns: () => undefined,
};
const named = (name: string, port = 80) => ({ name, port, ipVersion: 0 as const });
const all = () => undefined;

describe('where a service is', () => {
  test('the settings win over the file, the file over DNS', () => {
    expect(resolve(named('usersvc'), lists, all)).toEqual({ source: 'settings', endpoints: [at('10.0.0.1', 1)], error: '' });
    expect(resolve(named('ported'), lists, all)).toMatchObject({ source: 'file', endpoints: [at('10.0.0.4', 4)] });
  });

  test('a name with its port wins over the name', () => {
    expect(resolve(named('ported', 81), lists, all)).toMatchObject({ endpoints: [at('10.0.0.3', 3)] });
  });

  test('a list that is empty decides too', () => {
    expect(resolve(named('other'), { ...lists, dns: () => ({ addresses: ['10.9.9.9'], error: '' }) }, all)).toEqual({
      source: 'file',
      endpoints: [],
      error: '',
    });
  });

  test('an address is its own endpoint', () => {
    expect(resolve({ name: '10.1.2.3', port: 8080, ipVersion: 4 }, lists, all)).toEqual({
      source: 'address',
      endpoints: [at('10.1.2.3', 8080)],
      error: '',
    });
  });

  test('DNS answers in any order give one list, without doubles', () => {
    const dns = (addresses: string[]) => resolve(named('web'), { ...lists, dns: () => ({ addresses, error: '' }) }, all);
    expect(dns(['10.0.0.9', '10.0.0.10', '10.0.0.9'])).toEqual(dns(['10.0.0.10', '10.0.0.9']));
  });

  test('what may not be an upstream is left out and said', () => {
    const refuse = ({ address }: { address: string }) => (address.startsWith('169.254.') ? 'link-local' : undefined);
    const found = resolve(named('web'), { ...lists, dns: () => ({ addresses: ['169.254.169.254', '10.0.0.1'], error: '' }) }, refuse);
    expect(found).toEqual({ source: 'dns', endpoints: [at('10.0.0.1', 80)], error: 'link-local' });
  });

  test('names of every object are names like others', () => {
    expect(resolve(named('constructor'), lists, all)).toMatchObject({ source: 'dns', endpoints: [] });
  });
});

describe('the services file', () => {
  test('YAML and JSON', () => {
    const expected = { usersvc: [at('127.0.0.1', 9001), at('::1', 9002)] };
    expect(parseServices("services:\n  UserSvc: ['127.0.0.1:9001', '[::1]:9002']\n")).toEqual(expected);
    expect(parseServices('{"services":{"usersvc":["127.0.0.1:9001","[::1]:9002"]}}')).toEqual(expected);
  });

  test.each([
    '',
    '[]',
    'services: 5',
    'services: {a: b}',
    "services: {a: ['web:80']}",
    "services: {a: ['127.0.0.1']}",
    "services: {a: ['127.0.0.1:0']}",
    'services: {a: [{}]}',
    'a: [',
  ])('refuses %j', (text) => {
    expect(() => parseServices(text)).toThrow();
  });
});
