import { describe, expect, it } from '@jest/globals';
import { checkBootstrap, type ParsedBootstrap, plainListeners, toShadow } from './bootstrap-check.js';

const good = {
  admin: { address: { pipe: { path: 'admin.sock', mode: 0o600 } } },
  static_resources: {
    listeners: [
      { name: 'http', address: { socket_address: { address: '0.0.0.0', port_value: 8080 } }, filter_chains: [{}] },
      { name: 'https', address: { socket_address: { address: '0.0.0.0', port_value: 8443 } }, filter_chains: [{ transport_socket: {} }] },
    ],
    clusters: [{ name: 'a', eds_cluster_config: { eds_config: { path_config_source: { path: 'endpoints/a.json' } } } }],
  },
};
const bytes = (value: unknown) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
const with_ = (change: (copy: typeof good & Record<string, unknown>) => void) => {
  const copy = structuredClone(good) as typeof good & Record<string, unknown>;
  change(copy);
  return bytes(copy);
};

describe("the agent's own checks of a configuration", () => {
  it('accept a good one and name its files', () => {
    expect(checkBootstrap(bytes(good))).toMatchObject({ ok: true, paths: ['endpoints/a.json'] });
  });

  it.each([
    ['empty', 'empty', Buffer.alloc(0)],
    ['broken JSON', 'not_json', bytes('{"admin"')],
    ['invalid UTF-8', 'not_json', Buffer.from([0x22, 0xff, 0x22])],
    ['no object', 'not_json', bytes('[]')],
    [
      'an admin on TCP',
      'admin_address',
      with_((c) => Object.assign(c.admin, { address: { socket_address: { address: '127.0.0.1', port_value: 1 } } })),
    ],
    ['an admin that others may use', 'admin_address', with_((c) => Object.assign(c.admin.address.pipe, { mode: 0o666 }))],
    ['an admin elsewhere', 'admin_address', with_((c) => Object.assign(c.admin.address.pipe, { path: '/tmp/admin.sock' }))],
    ['no listener', 'no_listener', with_((c) => c.static_resources.listeners.splice(0))],
    ['an absolute data source', 'path_outside', with_((c) => Object.assign(c, { x: [{ filename: '/etc/passwd' }] }))],
    [
      'a way out of the folder',
      'path_outside',
      with_((c) => Object.assign(c, { x: { path_config_source: { path: 'endpoints/../../x' } } })),
    ],
  ])('refuse %s', (_what, code, content) => {
    expect(checkBootstrap(content)).toMatchObject({ ok: false, code });
  });

  it('do not take the path of a route for a file', () => {
    expect(checkBootstrap(with_((c) => Object.assign(c, { routes: [{ match: { path: '/user' } }] })))).toMatchObject({ ok: true });
  });
});

describe('the checks of a configuration that is delivered live', () => {
  const pipe = (path: string) => ({ endpoint: { address: { pipe: { path } } } });
  const live = (path = 'xds.sock') => ({
    admin: good.admin,
    dynamic_resources: { ads_config: {}, cds_config: {}, lds_config: {} },
    static_resources: { clusters: [{ name: 'xds', load_assignment: { endpoints: [{ lb_endpoints: [pipe(path)] }] } }] },
  });

  it('want no listener in it, since it comes later', () => {
    expect(checkBootstrap(bytes(live()), { live: true })).toMatchObject({ ok: true });
    expect(checkBootstrap(bytes(live()))).toMatchObject({ ok: false, code: 'no_listener' });
  });

  it.each([
    ['nothing comes over ADS', bytes({ ...live(), dynamic_resources: { ads_config: {}, cds_config: {} } })],
    ['another socket answers it', bytes(live('other.sock'))],
    ['no cluster leads there', bytes({ ...live(), static_resources: {} })],
  ])('refuse it when %s', (_what, content) => {
    expect(checkBootstrap(content, { live: true })).toMatchObject({ ok: false, code: 'no_ads' });
  });
});

describe('the shadow of a configuration', () => {
  it('listens on loopback ports of the kernel and is otherwise the same', () => {
    const shadow = toShadow(good as ParsedBootstrap);
    expect(shadow.static_resources?.listeners?.map((listener) => listener.address)).toEqual([
      { socket_address: { address: '127.0.0.1', port_value: 0 } },
      { socket_address: { address: '127.0.0.1', port_value: 0 } },
    ]);
    expect({ ...shadow, static_resources: { ...shadow.static_resources, listeners: [] } }).toEqual({
      ...good,
      static_resources: { ...good.static_resources, listeners: [] },
    });
  });

  it('is asked on its plain listeners only', () => {
    expect(plainListeners(good as ParsedBootstrap)).toEqual(['http']);
  });
});
