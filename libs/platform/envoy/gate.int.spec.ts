import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { type Bootstrap, createNode, markerBootstrap, muteServer, type Node, waitForever } from './envoy.fixture.js';
import { type GateStep, passGate, validateOnly } from './gate.js';
import { findEpochs } from './launcher.js';

jest.setTimeout(60_000);

let node: Node;
beforeEach(async () => {
  node = await createNode();
});
afterEach(async () => {
  await node.dispose();
});

const endpoints = {
  'endpoints/a.json':
    '{"version_info":"1","resources":[{"@type":"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment","cluster_name":"a"}]}',
};

function gate(
  bend: (bootstrap: Bootstrap) => void,
  options: { files?: Record<string, string>; marker?: string; shadowTimeoutMs?: number } = {},
) {
  const bootstrap = markerBootstrap(node.port, 'right');
  bend(bootstrap);
  const steps: GateStep[] = [];
  return passGate({
    binary: node.binary,
    folder: node.folder.shadow,
    bootstrap: Buffer.from(JSON.stringify(bootstrap)),
    files: new Map(Object.entries(options.files ?? {}).map(([path, text]) => [path, Buffer.from(text)])),
    probe: { path: '/marker', headers: {}, marker: options.marker ?? 'right' },
    ...(options.shadowTimeoutMs === undefined ? {} : { shadowTimeoutMs: options.shadowTimeoutMs }),
    onStep: (step) => steps.push(step),
  }).then((result) => ({ ...result, steps }));
}

const edsCluster = (bootstrap: Bootstrap) =>
  bootstrap.static_resources.clusters.push({
    name: 'a',
    type: 'EDS',
    connect_timeout: '1s',
    eds_cluster_config: { eds_config: { resource_api_version: 'V3', path_config_source: { path: 'endpoints/a.json' } } },
  });

describe('the gate', () => {
  it('passes what comes up and gives the marker, without taking its port, and leaves nothing behind', async () => {
    const before = readdirSync('/dev/shm').length;
    expect(await gate((bootstrap) => edsCluster(bootstrap), { files: endpoints })).toEqual({
      ok: true,
      steps: ['checked', 'validated', 'shadow_booted'],
    });
    expect(await findEpochs(node.folder.shadow)).toEqual([]);
    expect(readdirSync('/dev/shm').length).toBeLessThanOrEqual(before);
  });

  it('refuses by its own check a file that the release does not hold', async () => {
    expect(await gate((bootstrap) => edsCluster(bootstrap))).toMatchObject({ ok: false, step: 'checked', code: 'file_missing' });
  });

  it("refuses with Envoy's own words what validation refuses", async () => {
    const result = await gate((bootstrap) => {
      const [virtualHost] = bootstrap.static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts;
      virtualHost.routes[0] = { match: { prefix: '/' }, route: { cluster: 'nowhere' } };
    });
    expect(result).toMatchObject({ ok: false, step: 'validated', code: 'envoy_refused', message: expect.stringContaining('nowhere') });
  });

  it('refuses what comes up but gives another answer', async () => {
    expect(await gate(() => {}, { marker: 'another' })).toMatchObject({
      ok: false,
      step: 'shadow_booted',
      code: 'proof_missing',
      message: expect.stringContaining('right'),
    });
  });

  it('ends a shadow that does not come up in time', async () => {
    const mute = await muteServer();
    try {
      const result = await gate((bootstrap) => waitForever(bootstrap, mute.port), { shadowTimeoutMs: 1500 });
      expect(result).toMatchObject({ ok: false, step: 'shadow_booted', code: 'shadow_timeout' });
    } finally {
      mute.close();
    }
    expect(await findEpochs(node.folder.shadow)).toEqual([]);
  });
});

describe('validation alone', () => {
  it('needs none of the files', async () => {
    const bootstrap = markerBootstrap(node.port, 'x');
    edsCluster(bootstrap);
    const input = { binary: node.binary, folder: join(node.folder.path, 'check') };
    expect(await validateOnly({ ...input, bootstrap: Buffer.from(JSON.stringify(bootstrap)) })).toEqual({ ok: true });
    bootstrap.static_resources.clusters[0].connect_timeout = '0s';
    expect(await validateOnly({ ...input, bootstrap: Buffer.from(JSON.stringify(bootstrap)) })).toMatchObject({
      ok: false,
      code: 'envoy_refused',
    });
  });
});
