import { expect, it } from '@jest/globals';
import { configFile, epochNode, keyOfConfigFile, placeOfNode } from './epoch-start.js';

it('a configuration file names its release', () => {
  expect(keyOfConfigFile(configFile('000001-0000000001-0000000002'))).toBe('000001-0000000001-0000000002');
});

it('a node id names its epoch', () => {
  expect(placeOfNode(epochNode('gateway/edge-1', { baseId: 399_999_999, epoch: 12 }))).toEqual({ baseId: 399_999_999, epoch: 12 });
  for (const id of ['', 'edge-1', 'edge-1/7', 'edge-1/7.x', '7.1']) expect(placeOfNode(id)).toBeNull();
});
