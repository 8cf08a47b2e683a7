import { describe, expect, it } from '@jest/globals';

import { readApiConfig } from './api-config.js';
import { readCliConfig } from './cli-config.js';
import { ConfigError, isLoopback } from './environment.js';
import { readProjectorConfig } from './projector-config.js';
import { readWorkerConfig } from './worker-config.js';

const DATABASE_URL = 'postgresql://chancery_app:hunter2@127.0.0.1:5432/chancery';

function problems(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.join('\n');
    throw error;
  }
  return '';
}

describe('configuration from the environment', () => {
  it('has defaults that keep to this machine', () => {
    expect(readApiConfig({ DATABASE_URL })).toEqual({
      databaseUrl: DATABASE_URL,
      listen: { host: '127.0.0.1', port: 8888 },
      tls: undefined,
      ambassadorStatus200: false,
      allowLoopbackUpstreams: false,
      ownPorts: [8888, 18_000, 5432],
      anchors: undefined,
      kekFile: undefined,
      logLevel: 'info',
      failpointDir: undefined,
    });
    expect(readWorkerConfig({ DATABASE_URL })).toMatchObject({ listen: { host: '127.0.0.1', port: 18_000 }, redisUrl: undefined });
    expect(readProjectorConfig({ DATABASE_URL })).toMatchObject({ metricsListen: undefined, anchors: undefined });
    expect(readCliConfig({})).toMatchObject({ apiUrl: undefined, token: undefined, noColor: false, forceColor: false });
    expect(readCliConfig({ FORCE_COLOR: '0' }).forceColor).toBe(false);
    expect(readCliConfig({ FORCE_COLOR: '1', NO_COLOR: '' })).toMatchObject({ forceColor: true, noColor: false });
  });

  it('is frozen', () => {
    expect(Object.isFrozen(readApiConfig({ DATABASE_URL }))).toBe(true);
  });

  it.each([
    ['127.0.0.1:1', { host: '127.0.0.1', port: 1 }],
    ['[::1]:8888', { host: '::1', port: 8888 }],
    [':9000', { host: '127.0.0.1', port: 9000 }],
    ['9000', { host: '127.0.0.1', port: 9000 }],
    ['localhost:0', { host: 'localhost', port: 0 }],
  ])('reads the address %s', (text, listen) => {
    expect(readApiConfig({ DATABASE_URL, CHANCERY_API_LISTEN: text }).listen).toEqual(listen);
  });

  it.each(['', ' ', 'x', '127.0.0.1', '127.0.0.1:70000', '127.0.0.1:-1', '::1:80', 'http://x:1'])(
    'names the address %j as wrong, or takes it as unset',
    (text) => {
      const said = problems(() => readApiConfig({ DATABASE_URL, CHANCERY_API_LISTEN: text }));
      expect(said).toMatch(text === '' ? /^$/ : /^CHANCERY_API_LISTEN: must be host:port/);
    },
  );

  it('names every wrong variable at once, and repeats no value', () => {
    const said = problems(() =>
      readWorkerConfig({
        DATABASE_URL: 'mysql://hunter2',
        REDIS_URL: 'hunter3',
        CHANCERY_LOG_LEVEL: 'loud',
        CHANCERY_ALLOW_LOOPBACK_UPSTREAMS: 'perhaps',
      }),
    );
    for (const name of ['DATABASE_URL', 'REDIS_URL', 'CHANCERY_LOG_LEVEL', 'CHANCERY_ALLOW_LOOPBACK_UPSTREAMS'])
      expect(said).toMatch(new RegExp(`^${name}: must be`, 'm'));
    expect(said).not.toMatch(/hunter/);
  });

  it('keeps the admin port at home unless told otherwise', () => {
    const listen = { DATABASE_URL, CHANCERY_API_LISTEN: '0.0.0.0:8888' };
    expect(problems(() => readApiConfig(listen))).toMatch(/can be reached from other machines/);
    expect(problems(() => readApiConfig({ ...listen, CHANCERY_API_ALLOW_REMOTE: 'true' }))).toBe('');
    expect(problems(() => readApiConfig({ ...listen, CHANCERY_API_TLS_CERT_FILE: '/c', CHANCERY_API_TLS_KEY_FILE: '/k' }))).toBe('');
  });

  it('takes the anchor file and its key together, and an interval that is one', () => {
    const file = { DATABASE_URL, CHANCERY_ANCHOR_FILE: 'anchors.jsonl' };
    expect(problems(() => readProjectorConfig(file))).toMatch(/set both or none/);
    expect(problems(() => readApiConfig(file))).toMatch(/set both or none/);
    expect(problems(() => readProjectorConfig({ DATABASE_URL, CHANCERY_ANCHOR_KEY_FILE: 'key.pem' }))).toMatch(/set both or none/);
    const both = { ...file, CHANCERY_ANCHOR_KEY_FILE: 'key.pem' };
    expect(readProjectorConfig(both).anchors).toEqual({ file: 'anchors.jsonl', keyFile: 'key.pem', everyMs: 60_000 });
    expect(readProjectorConfig({ ...both, CHANCERY_ANCHOR_EVERY_S: '3600' }).anchors?.everyMs).toBe(3_600_000);
    for (const wrong of ['0', '3601', '-1', '1.5', 'often', '10000'])
      expect(problems(() => readProjectorConfig({ ...both, CHANCERY_ANCHOR_EVERY_S: wrong }))).toMatch(/^CHANCERY_ANCHOR_EVERY_S: must be/);
    expect(readApiConfig({ ...file, CHANCERY_ANCHOR_PUBLIC_KEY_FILE: 'key.pem.pub' }).anchors).toEqual({
      file: 'anchors.jsonl',
      publicKeyFile: 'key.pem.pub',
    });
  });

  it.each([
    ['127.0.0.1', true],
    ['127.9.9.9', true],
    ['::1', true],
    ['localhost', true],
    ['0.0.0.0', false],
    ['::', false],
    ['127.0.0.1.example', false],
    ['10.0.0.1', false],
  ])('knows whether %s is loopback', (host, loopback) => {
    expect(isLoopback(host)).toBe(loopback);
  });
});
