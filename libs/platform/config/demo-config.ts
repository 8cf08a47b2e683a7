import { z } from 'zod';

import { databaseUrlVariable, type Environment, type Listen, listenVariable, readEnvironment, required } from './environment.js';

export interface DemoConfig {
  readonly listen: Listen;
}

export interface UsersvcConfig extends DemoConfig {
  /** The demo's own database, not Chancery's. */
  readonly databaseUrl: string;
}

const listening = z.object({ CHANCERY_DEMO_LISTEN: listenVariable.default({ host: '127.0.0.1', port: 0 }) });
const withDatabase = listening.extend({
  CHANCERY_DEMO_DATABASE_URL: required(
    databaseUrlVariable,
    'where usersvc keeps its users, for instance postgresql://usersvc@127.0.0.1:5432/usersvc',
  ),
});

/**
 * The configuration of the demo service gruesvc.
 * @throws ConfigError when a variable is unusable.
 */
export function readDemoConfig(env: Environment = process.env): DemoConfig {
  return Object.freeze({ listen: readEnvironment(listening, env).CHANCERY_DEMO_LISTEN });
}

/**
 * The configuration of the demo service usersvc.
 * @throws ConfigError when a variable is unusable.
 */
export function readUsersvcConfig(env: Environment = process.env): UsersvcConfig {
  const read = readEnvironment(withDatabase, env);
  return Object.freeze({ listen: read.CHANCERY_DEMO_LISTEN, databaseUrl: read.CHANCERY_DEMO_DATABASE_URL });
}
