import type { AskedPorts } from './dev-ports.js';

/** What `bin/dev` was asked for. */
export interface DevOptions {
  readonly data: string;
  readonly ports: AskedPorts;
  readonly demo: boolean;
  readonly fresh: boolean;
}
