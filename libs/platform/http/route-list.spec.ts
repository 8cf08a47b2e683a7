import { describe, expect, it } from '@jest/globals';

import { RouteList } from './route-list.js';

describe('the list of routes', () => {
  const routes = new RouteList();
  routes.add('GET', '/v1/things');
  routes.add(['GET', 'HEAD'], '/v1/things/:thing');
  routes.add('DELETE', '/v1/things/:thing');

  it.each([
    ['/v1/things', ['GET']],
    ['/v1/things/x', ['DELETE', 'GET', 'HEAD']],
    ['/v1/things/', []],
    ['/v1/things/x/y', []],
    ['/V1/things', []],
    ['', []],
  ])('knows the methods at %j', (path, methods) => {
    expect(routes.methodsAt(path)).toEqual(methods);
  });
});
