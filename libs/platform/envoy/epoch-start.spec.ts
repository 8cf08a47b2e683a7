import { expect, it } from '@jest/globals';
import { configFile, keyOfConfigFile } from './epoch-start.js';

it('a configuration file names its release', () => {
  expect(keyOfConfigFile(configFile('000001-0000000001-0000000002'))).toBe('000001-0000000001-0000000002');
});
