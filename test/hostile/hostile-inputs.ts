import { bodies } from './hostile-bodies.js';
import type { HostileCase } from './hostile-case.js';
import { headers, labels, methods, numbers } from './hostile-conditions.js';
import { hosts, names, paths, prefixes, rewrites } from './hostile-routes.js';
import { services } from './hostile-services.js';

/** Every hostile request that both APIs must refuse, each with its own status, code and pointer. */
export const hostileInputs: readonly HostileCase[] = [
  ...bodies,
  ...names,
  ...hosts,
  ...prefixes,
  ...paths,
  ...services,
  ...rewrites,
  ...headers,
  ...methods,
  ...numbers,
  ...labels,
];
