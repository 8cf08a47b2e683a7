import { existsSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import type { DevConfig } from '#platform/config/dev-config.js';

import type { ChildSpec } from './child.js';
import type { DataFolder } from './data-folder.js';
import type { DevDatabase } from './dev-database.js';
import type { Ports } from './dev-ports.js';
import { BUILD_VARIABLE, DIR_VARIABLE, NAME_VARIABLE } from './orphans.js';

/** What the processes are told. */
export interface HouseFacts {
  readonly config: DevConfig;
  readonly folder: DataFolder;
  readonly ports: Ports;
  readonly database: DevDatabase;
  readonly envoyPath: string;
  readonly build: string;
  /** Undefined with --no-demo. */
  readonly usersvcDatabaseUrl: string | undefined;
}

/** dist/apps/, where this file's build lies too. */
const apps = fileURLToPath(new URL('../../../', import.meta.url));

/** The processes of the house, in the order in which they are ended: those that change things first, those that carry traffic last. */
export function describeChildren(facts: HouseFacts): readonly ChildSpec[] {
  const { ports, database, folder } = facts;
  const address = (port: number) => `127.0.0.1:${port}`;
  const child = (name: string, script: string, env: Record<string, string>, outlivesSupervisor = false): ChildSpec => ({
    name,
    script: `${apps}${script}`,
    outlivesSupervisor,
    env: {
      ...facts.config.inherited,
      NODE_COMPILE_CACHE: `${folder.path}/compile-cache`, // saves a third of each start
      [DIR_VARIABLE]: folder.path,
      [NAME_VARIABLE]: name,
      [BUILD_VARIABLE]: facts.build,
      ...failpointsOf(facts.config.inherited, name),
      ...env,
    },
  });
  const data = { DATABASE_URL: database.url };
  const discovery = { CHANCERY_ALLOW_LOOPBACK_UPSTREAMS: 'true' };
  const anchors = anchorsOf(facts.config.inherited, folder);
  const keys = { CHANCERY_KEK_FILE: facts.config.inherited.CHANCERY_KEK_FILE || folder.keys };
  return [
    child('api', 'api/src/main.js', { ...data, ...discovery, ...anchors, ...keys, CHANCERY_API_LISTEN: address(ports.api) }),
    child('projector', 'projector/src/main.js', {
      ...data,
      ...anchors,
      CHANCERY_PROJECTOR_METRICS_LISTEN: address(ports.projectorMetrics),
    }),
    child('worker', 'worker/src/main.js', {
      ...data,
      ...discovery,
      ...keys,
      NODE_OPTIONS: '--max-semi-space-size=4', // with 100,000 mappings 110 MB less, and no slower
      // glibc gives back what a thousand Envoys were sent when they came: 18 KB of each. Elsewhere nobody reads these.
      MALLOC_ARENA_MAX: '2',
      MALLOC_MMAP_THRESHOLD_: '65536',
      MALLOC_TRIM_THRESHOLD_: '131072',
      CHANCERY_WORKER_LISTEN: address(ports.worker),
      CHANCERY_WORKER_METRICS_LISTEN: address(ports.workerMetrics),
      CHANCERY_SERVICES_FILE: folder.services,
      ENVOY_PATH: facts.envoyPath,
    }),
    child('agent', 'agent/src/main.js', {
      CHANCERY_AGENT_TARGET: TARGET,
      CHANCERY_AGENT_GATEWAY: 'default',
      CHANCERY_AGENT_WORKER: address(ports.worker),
      CHANCERY_AGENT_TOKEN_FILE: folder.agentToken,
      CHANCERY_AGENT_DATA: folder.node,
      CHANCERY_AGENT_HTTP_LISTEN: address(ports.http),
      CHANCERY_AGENT_HTTPS_LISTEN: address(ports.https),
      ENVOY_PATH: facts.envoyPath,
    }),
    ...(facts.usersvcDatabaseUrl === undefined
      ? []
      : [
          child(
            'usersvc',
            'demo/src/usersvc.js',
            { CHANCERY_DEMO_LISTEN: address(ports.usersvc), CHANCERY_DEMO_DATABASE_URL: facts.usersvcDatabaseUrl },
            true,
          ),
          child('gruesvc', 'demo/src/gruesvc.js', { CHANCERY_DEMO_LISTEN: address(ports.gruesvc) }, true),
        ]),
  ];
}

/** A folder of failpoints for each process, so that a test can name the one it means. */
function failpointsOf(inherited: Readonly<Record<string, string>>, name: string): Record<string, string> {
  const folder = inherited.CHANCERY_FAILPOINT_DIR;
  return folder === undefined ? {} : { CHANCERY_FAILPOINT_DIR: `${folder}/${name}` };
}

/** Anchors of the log are kept in the data folder, which is outside the database if not on another machine; variables of the user's own come first. */
function anchorsOf(inherited: Readonly<Record<string, string>>, folder: DataFolder): Record<string, string> {
  const file = inherited.CHANCERY_ANCHOR_FILE || folder.anchors;
  const key = inherited.CHANCERY_ANCHOR_KEY_FILE || folder.anchorKey;
  const publicKey = inherited.CHANCERY_ANCHOR_PUBLIC_KEY_FILE || `${key}.pub`;
  return { CHANCERY_ANCHOR_FILE: file, CHANCERY_ANCHOR_KEY_FILE: key, CHANCERY_ANCHOR_PUBLIC_KEY_FILE: publicKey };
}

/** The one Envoy of a development machine. */
export const TARGET = 'dev';

const OURS = '# Written by bin/dev; the lines of usersvc and gruesvc follow the ports they listen on. Add your own below `services`.';

/**
 * The list of services that discovery reads. Made at the first start; later only the two demo lines are brought up to date, the user's are kept.
 */
export function writeServices(folder: DataFolder, ports: Ports, demo: boolean, read: (file: string) => string): void {
  const lines = existsSync(folder.services) ? read(folder.services).split('\n') : [OURS, 'services:'];
  const kept = lines.filter((line) => !/^ {2}(usersvc|gruesvc):/.test(line) && line !== 'services: {}');
  const at = kept.findIndex((line) => /^services:/.test(line));
  const entries = demo ? [`  usersvc: ['127.0.0.1:${ports.usersvc}']`, `  gruesvc: ['127.0.0.1:${ports.gruesvc}']`] : [];
  const next = at < 0 ? [...kept, 'services:', ...entries] : [...kept.slice(0, at + 1), ...entries, ...kept.slice(at + 1)];
  const empty = entries.length === 0 && !next.some((line) => /^ +\S/.test(line));
  const text = `${next
    .map((line) => (empty && line === 'services:' ? 'services: {}' : line))
    .join('\n')
    .trimEnd()}\n`;
  if (!existsSync(folder.services) || read(folder.services) !== text) writeFileSync(folder.services, text);
}
