import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

// A real API server of Kubernetes and its tools, for the tests that ask for them: README says how they come there.
const kube = join(import.meta.dirname, '.cache/kube');
if (existsSync(kube)) {
  process.env.KUBEBUILDER_ASSETS ||= kube;
  process.env.PATH = `${process.env.PATH ?? ''}${delimiter}${kube}`;
}

const base = {
  rootDir: import.meta.dirname,
  testEnvironment: 'node',
  roots: ['<rootDir>/apps', '<rootDir>/libs', '<rootDir>/test', '<rootDir>/bench'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '^.+\\.ts$': ['@swc/jest', {}] },
  moduleNameMapper: {
    '^#platform/(.*)\\.js$': '<rootDir>/libs/platform/$1.ts',
    '^#features/(.*)\\.js$': '<rootDir>/libs/features/$1.ts',
    '^(\\.{1,2}/.*)\\.js$': ['$1.ts', '$1.js'],
  },
};

/** The file name chooses the suite: `.spec.ts` is pure, `.int.spec.ts` needs Postgres or Envoy, `.e2e.spec.ts` runs whole processes. */
export default {
  testTimeout: 30_000, // what hangs is found all the same, and a busy machine is no failure
  projects: [
    { ...base, displayName: 'unit', testMatch: ['**/*.spec.ts'], testPathIgnorePatterns: ['\\.(int|e2e)\\.spec\\.ts$', '/node_modules/'] },
    {
      ...base,
      displayName: 'int',
      testMatch: ['**/*.int.spec.ts'],
      globalSetup: '<rootDir>/test/support/int-setup.ts',
      globalTeardown: '<rootDir>/test/support/int-teardown.ts',
    },
    { ...base, displayName: 'e2e', testMatch: ['**/*.e2e.spec.ts'] },
  ],
};
