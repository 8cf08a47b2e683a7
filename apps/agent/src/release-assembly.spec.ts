import { describe, expect, it } from '@jest/globals';
import { sha256Hex } from '#platform/kernel/digest.js';
import { Manifest } from '#platform/xds/generated/delivery.js';
import { BOOTSTRAP_TYPE, ENDPOINTS_TYPE } from '#platform/xds/resource.js';
import { IncompleteReleaseError, ReleaseAssembly } from './release-assembly.js';

const json = (text: string) => Buffer.from(text);
const bootstrap = { kind: 'bootstrap', name: 'bootstrap', version: '1', json: json('{}') } as const;
const endpoints = (name: string, text = '[]') => ({ kind: 'endpoints', name, version: '1', json: json(text) }) as const;
const manifest = (...items: [string, string, string][]) =>
  Manifest.fromPartial({ items: items.map(([typeUrl, name, text]) => ({ typeUrl, name, sha256: sha256Hex(text) })) });
const none = { typeUrl: ENDPOINTS_TYPE, names: [] };

describe('a release from its parts', () => {
  it('holds what its manifest names and nothing else', () => {
    const assembly = new ReleaseAssembly(null);
    assembly.take([bootstrap, endpoints('users'), endpoints('unused')], none);
    const release = assembly.assemble(manifest([BOOTSTRAP_TYPE, 'bootstrap', '{}'], [ENDPOINTS_TYPE, 'users', '[]']));
    expect([...release.endpoints.keys()]).toEqual(['users']);
    expect(release.bootstrap.toString()).toBe('{}');
  });

  it('uses what an earlier connection brought', () => {
    const first = new ReleaseAssembly(null);
    first.take([bootstrap, endpoints('users')], none);
    const named = manifest([BOOTSTRAP_TYPE, 'bootstrap', '{}'], [ENDPOINTS_TYPE, 'users', '[]']);
    const next = new ReleaseAssembly(first.assemble(named));
    expect(next.assemble(named).endpoints.get('users')).toEqual(json('[]'));
    expect(next.versions().get(ENDPOINTS_TYPE)?.get('users')).toBe(sha256Hex('[]'));
  });

  it.each<[string, Manifest]>([
    ['no bootstrap', manifest([ENDPOINTS_TYPE, 'users', '[]'])],
    ['a file that was not sent', manifest([BOOTSTRAP_TYPE, 'bootstrap', '{}'], [ENDPOINTS_TYPE, 'orders', '[]'])],
    ['other bytes than it says', manifest([BOOTSTRAP_TYPE, 'bootstrap', '{"other":1}'])],
    ['a removed file', manifest([BOOTSTRAP_TYPE, 'bootstrap', '{}'], [ENDPOINTS_TYPE, 'gone', '[]'])],
    ['a way out of its folder', manifest([BOOTSTRAP_TYPE, 'bootstrap', '{}'], [ENDPOINTS_TYPE, '../state', '[]'])],
    ['an unknown type', manifest([BOOTSTRAP_TYPE, 'bootstrap', '{}'], ['type.googleapis.com/other', 'users', '[]'])],
  ])('is refused with %s', (_what, named) => {
    const assembly = new ReleaseAssembly(null);
    assembly.take([bootstrap, endpoints('users'), endpoints('gone'), endpoints('../state')], none);
    assembly.take([], { typeUrl: ENDPOINTS_TYPE, names: ['gone'] });
    expect(() => assembly.assemble(named)).toThrow(IncompleteReleaseError);
  });
});
