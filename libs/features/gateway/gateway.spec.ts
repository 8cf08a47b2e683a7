import { describe, expect, test } from '@jest/globals';

import { given } from '#features/mapping/mapping.fixture.js';
import { DomainError } from '#platform/kernel/errors.js';

import { configureGateway, createGateway, defaultSettings, settingsOf, settingsToJson } from './gateway.js';
import { parseGatewayCreate, parseSettings, parseSettingsPatch, patchedSettings, replacedSettings } from './gateway-settings.js';

describe('decisions', () => {
  test('a gateway is created once, with every setting written out', () => {
    expect(given({}).when(createGateway(defaultSettings)).events()).toEqual([
      { type: 'GatewayCreated', schemaVersion: 3, subject: 'gateway', state: defaultSettings },
    ]);
    expect(given({ gateway: defaultSettings }).when(createGateway(defaultSettings)).refusal()).toMatchObject({
      kind: 'conflict',
      code: 'gateway_exists',
    });
  });

  test('a change of settings; equal ones are nothing to do; no gateway, nothing to set', () => {
    const slower = configureGateway((present) => ({ ...present, defaultTimeoutMs: 6000 }));
    expect(given({ gateway: defaultSettings }).when(slower).events()).toMatchObject([
      { type: 'GatewayConfigured', state: { defaultTimeoutMs: 6000 } },
    ]);
    expect(
      given({ gateway: { ...defaultSettings, defaultTimeoutMs: 6000 } })
        .when(slower)
        .events(),
    ).toEqual([]);
    expect(given({}).when(slower).refusal()).toMatchObject({ kind: 'not_found', code: 'gateway_not_found' });
  });

  test('settings of an older version are read with the defaults of this one', () => {
    expect(settingsOf({ drainTimeS: 3 })).toEqual({ ...defaultSettings, delivery: 'hot-restart', drainTimeS: 3 });
    expect(settingsOf(settingsToJson(defaultSettings))).toEqual(defaultSettings);
    expect(settingsOf({ rollout: { strategy: 'waves' } }).rollout).toEqual({ ...defaultSettings.rollout, strategy: 'waves' });
  });
});

describe('settings', () => {
  test('a replace takes defaults for what it leaves out, a patch what is there', () => {
    const present = { ...defaultSettings, drainTimeS: 3, services: { a: ['10.0.0.1:80'], b: ['10.0.0.2:80'] } };
    expect(replacedSettings(parseSettings({ idleTimeoutMs: 1000 }))).toEqual({ ...defaultSettings, idleTimeoutMs: 1000 });
    const patch = parseSettingsPatch({ http: { port: 80 }, services: { a: null, c: ['[fd00::1]:80'] } });
    expect(patchedSettings(present, patch)).toEqual({
      ...present,
      http: { address: '127.0.0.1', port: 80 },
      services: { b: ['10.0.0.2:80'], c: ['[fd00::1]:80'] },
    });
  });

  test.each<[string, unknown, string, string]>([
    ['a name as address', { http: { address: 'localhost', port: 80 } }, 'address_invalid', '/http/address'],
    ['port 0', { http: { address: '127.0.0.1', port: 0 } }, 'port_out_of_range', '/http/port'],
    ['one port for both', { https: { address: '127.0.0.1', port: 8080 } }, 'port_taken', '/https/port'],
    ['no drain', { drainTimeS: 0 }, 'time_out_of_range', '/drainTimeS'],
    ['a window of nothing', { drainTimeS: 10 }, 'window_too_short', '/parentShutdownTimeS'],
    ['idle connections that would be cut', { idleTimeoutMs: 8000 }, 'idle_timeout_exceeds_window', '/idleTimeoutMs'],
    ['a service with a bad name', { services: { 'a b': [] } }, 'service_name_invalid', '/services/a b'],
    ['an instance by name', { services: { a: ['b:80'] } }, 'instance_invalid', '/services/a/0'],
    ['an instance without a port', { services: { a: ['10.0.0.1'] } }, 'instance_invalid', '/services/a/0'],
    ['metadata as instance', { services: { a: ['169.254.169.254:80'] } }, 'service_metadata_address', '/services/a/0'],
    ['a share of nothing', { rollout: { sharePercent: 0 } }, 'rollout_out_of_range', '/rollout/sharePercent'],
    ['a soak of a week', { rollout: { soakS: 604_800 } }, 'rollout_out_of_range', '/rollout/soakS'],
    ['a canary that no target can be called', { rollout: { canary: 'a b' } }, 'rollout_canary_invalid', '/rollout/canary'],
    ['a cipher of yesterday', { tls: { ciphers: ['AES128-SHA'] } }, 'tls_cipher_unknown', '/tls/ciphers/0'],
    ['no cipher', { tls: { ciphers: [] } }, 'tls_no_cipher', '/tls/ciphers'],
    ['clients that nothing judges', { tls: { clientCertificates: {} } }, 'tls_clients_unjudged', '/tls/clientCertificates'],
    [
      'a host in upper case',
      { tls: { clientCertificates: { principals: true, hosts: ['A.example'] } } },
      'host_invalid',
      '/tls/clientCertificates/hosts/0',
    ],
    ['a bundle of nothing', { tls: { clientCertificates: { caBundle: 'none' } } }, 'ca_bundle_invalid', '/tls/clientCertificates/caBundle'],
    ['loopback as instance', { services: { a: ['10.0.0.1:80', '127.0.0.1:80'] } }, 'service_loopback', '/services/a/1'],
  ])('%s', (_title, body, code, pointer) => {
    expect(refusal(() => replacedSettings(parseSettings(body)))).toEqual({ kind: 'invalid', code, pointer });
  });

  test('a rollout is merged member by member; what a replace leaves out has its default', () => {
    const present = replacedSettings(parseSettings({ rollout: { strategy: 'waves', canary: 'edge-*', soakS: 0 } }));
    expect(present.rollout).toEqual({ ...defaultSettings.rollout, strategy: 'waves', canary: 'edge-*', soakS: 0 });
    expect(patchedSettings(present, parseSettingsPatch({ rollout: { canary: null } })).rollout).toEqual({
      ...present.rollout,
      canary: null,
    });
    expect(patchedSettings(present, parseSettingsPatch({ drainTimeS: 3 })).rollout).toEqual(present.rollout);
    expect(replacedSettings(parseSettings({})).rollout).toEqual(defaultSettings.rollout);
  });

  test('TLS is merged member by member, clients and all; the certificate that it names must live', () => {
    const clientCertificates = { hosts: ['a.example'], caBundle: null, principals: true, forward: false };
    const present = replacedSettings(parseSettings({ tls: { redirectHttp: true, clientCertificates } }));
    expect(present.tls).toEqual({ ...defaultSettings.tls, redirectHttp: true, clientCertificates });
    const patched = patchedSettings(
      present,
      parseSettingsPatch({ tls: { defaultCertificate: 'edge', clientCertificates: { forward: true } } }),
    );
    expect(patched.tls).toEqual({
      ...present.tls,
      defaultCertificate: 'edge',
      clientCertificates: { ...clientCertificates, forward: true },
    });
    expect(patchedSettings(patched, parseSettingsPatch({ tls: { clientCertificates: null } })).tls.clientCertificates).toBeNull();
    const events = given({ gateway: present })
      .when(configureGateway(() => patched))
      .events();
    expect(events).toMatchObject([{ type: 'GatewayConfigured', references: ['certificate/edge'] }]);
  });

  test('loopback instances where the gateway allows them', () => {
    const settings = replacedSettings(parseSettings({ allowLoopbackUpstreams: true, services: { usersvc: ['127.0.0.1:9001'] } }));
    expect(settings.services).toEqual({ usersvc: ['127.0.0.1:9001'] });
  });

  test.each<[string, unknown, string, string]>([
    ['an unknown setting', { admin: true }, 'unknown_field', '/admin'],
    ['another delivery', { delivery: 'by-hand' }, 'wrong_type', '/delivery'],
    ['a text for a number', { drainTimeS: '2' }, 'wrong_type', '/drainTimeS'],
    ['another strategy', { rollout: { strategy: 'slow' } }, 'wrong_type', '/rollout/strategy'],
    ['an unknown member of the rollout', { rollout: { soak: 1 } }, 'unknown_field', '/rollout/soak'],
    ['a list', [], 'body_not_object', ''],
  ])('shape: %s', (_title, body, code, pointer) => {
    expect(refusal(() => replacedSettings(parseSettings(body)))).toEqual({ kind: 'malformed', code, pointer });
  });

  test.each(['', 'A', 'a/b', '-a', 'a-', 'a'.repeat(64), 'a b', '..'])('no gateway is called %j', (name) => {
    expect(refusal(() => parseGatewayCreate({ name }))).toEqual({ kind: 'invalid', code: 'gateway_name_invalid', pointer: '/name' });
  });
});

function refusal(read: () => unknown) {
  try {
    read();
    return undefined;
  } catch (error) {
    if (!(error instanceof DomainError)) throw error;
    return { kind: error.kind, code: error.code, pointer: error.errors[0]?.pointer };
  }
}
