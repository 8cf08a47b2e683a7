import { describe, expect, test } from '@jest/globals';

import { choosePostgres, engineAddresses } from './choose-postgres.js';

const never = () => Promise.reject(new Error('nobody should have asked for an engine'));

describe('which Postgres', () => {
  test.each([
    ['an engine answers', {}, true, { kind: 'container' }],
    ['no engine answers', {}, false, { kind: 'embedded' }],
    ['an empty override is none', { CHANCERY_TEST_POSTGRES: '' }, false, { kind: 'embedded' }],
  ])('%s', async (_, environment, answers, choice) => {
    expect(await choosePostgres(environment, async () => answers)).toEqual(choice);
  });

  test.each([
    ['embedded by name', { CHANCERY_TEST_POSTGRES: 'embedded', DATABASE_URL: 'postgresql://h/d' }, { kind: 'embedded' }],
    ['container by name', { CHANCERY_TEST_POSTGRES: 'container', DATABASE_URL: 'postgresql://h/d' }, { kind: 'container' }],
    ['url by name', { CHANCERY_TEST_POSTGRES: 'url', DATABASE_URL: 'postgresql://h/d' }, { kind: 'url', url: 'postgresql://h/d' }],
    ['a DATABASE_URL', { DATABASE_URL: 'postgresql://h/d' }, { kind: 'url', url: 'postgresql://h/d' }],
  ])('%s, and no engine is asked for', async (_, environment, choice) => {
    expect(await choosePostgres(environment, never)).toEqual(choice);
  });

  test.each([
    [{ CHANCERY_TEST_POSTGRES: 'url' }, 'needs DATABASE_URL'],
    [{ CHANCERY_TEST_POSTGRES: 'docker' }, 'none of embedded, container, url'],
  ])('%j is refused', async (environment, message) => {
    await expect(choosePostgres(environment, never)).rejects.toThrow(message);
  });
});

describe('where an engine may be', () => {
  const everywhere = () => true;
  const nowhere = () => false;

  test.each([
    ['unix:///run/d.sock', everywhere, [{ socketPath: '/run/d.sock' }]],
    ['unix:///run/d.sock', nowhere, []],
    ['tcp://10.0.0.7:2375', nowhere, [{ host: '10.0.0.7', port: 2375 }]],
    ['tcp://engine', nowhere, [{ host: 'engine', port: 2375 }]],
    ['ssh://me@engine', everywhere, []],
    ['nonsense', everywhere, []],
    ['tcp://a b', everywhere, []],
  ])('DOCKER_HOST=%s', (named, exists, addresses) => {
    expect(engineAddresses({ DOCKER_HOST: named, XDG_RUNTIME_DIR: '/run/user/7' }, '/dwelling', exists)).toEqual(addresses);
  });

  test('without DOCKER_HOST the usual sockets, those that exist', () => {
    const all = ['/var/run/docker.sock', '/run/user/7/docker.sock', '/dwelling/.docker/run/docker.sock'];
    expect(engineAddresses({ XDG_RUNTIME_DIR: '/run/user/7' }, '/dwelling', everywhere)).toEqual(all.map((socketPath) => ({ socketPath })));
    expect(engineAddresses({}, '/dwelling', (path) => path.startsWith('/dwelling'))).toEqual([{ socketPath: all[2] }]);
    expect(engineAddresses({}, '/dwelling', nowhere)).toEqual([]);
  });
});
