import type { ClusterScope } from '#features/discovery/cluster-source.js';
import type { Db } from '#platform/database/database.js';
import type { EventStore } from '#platform/eventstore/event-store.js';
import type { Log } from '#platform/log/log.js';
import type { KeyFile } from '#platform/vault/key-file.js';
import type { AgentIdentity } from '#platform/xds/delivery-server.js';
import type { ServerCertificate } from '#platform/xds/server-credentials.js';

import type { SecretScope } from './secrets/cluster-secrets.js';

export interface WorkerOptions {
  /** Unique among workers, also over restarts: it says who holds a target. */
  readonly name: string;
  readonly databaseUrl: string;
  readonly redisUrl?: string | undefined;
  readonly log: Log;
  readonly listen: { readonly host: string; readonly port: number };
  /** Mutual TLS on the agents' port, PEM; without it the port is open to this machine alone. */
  readonly tls?: ServerCertificate | undefined;
  readonly statusListen?: { readonly host: string; readonly port: number } | undefined;
  readonly servicesFile?: string | undefined;
  /** Whose Services may be upstreams; undefined: there is no Kubernetes. */
  readonly cluster?: ClusterScope | undefined;
  /** Whose Secrets are certificates. */
  readonly secrets?: SecretScope | undefined;
  readonly allowLoopback: boolean;
  readonly ownPorts: ReadonlySet<number>;
  /** What secrets are kept under; without it certificates cannot be opened, and nodes keep what they have of them. */
  readonly keys?: KeyFile | undefined;
  /** Who presents this token; undefined or a DomainError for a bad one. */
  authenticate(token: string, log: { readonly db: Db; readonly events: EventStore }): Promise<AgentIdentity | undefined>;
  readonly queueName?: string;
  readonly tuning?: Partial<Tuning>;
  lookup?(name: string): Promise<string[]>;
}

/** Periods and deadlines, all in milliseconds. */
export interface Tuning {
  /** How often the followers look without being woken. */
  readonly pollMs: number;
  readonly sweepMs: number;
  /** A worker that was not seen for this long holds nothing any more. */
  readonly silentMs: number;
  /** A target that was not seen for this long is away: nobody waits for it. */
  readonly awayMs: number;
  /** For a push, beyond the parent's drain. */
  readonly pushDeadlineMs: number;
  /** For an agent to become ready, beyond the end of its window. */
  readonly readyDeadlineMs: number;
  readonly validateDeadlineMs: number;
  /** For a cluster to become warm, before the mappings that need it are set aside. */
  readonly heldBackDeadlineMs: number;
  /** Before those are tried again. */
  readonly notReadyMs: number;
  readonly statsIntervalMs: number;
  readonly queueLockMs: number;
  readonly backoffMs: number;
  /** How often versions whose time to be confirmed is over are looked for. */
  readonly confirmationsMs: number;
  /** How often waves are looked at. */
  readonly wavesMs: number;
  /** How old the newest key of session tickets becomes, and how often that is looked at. */
  readonly ticketKeyMs: number;
  readonly ticketLookMs: number;
}

export const defaultTuning: Tuning = {
  pollMs: 1_000,
  sweepMs: 3_000,
  silentMs: 30_000,
  awayMs: 120_000,
  pushDeadlineMs: 120_000,
  readyDeadlineMs: 60_000,
  validateDeadlineMs: 30_000,
  heldBackDeadlineMs: 15_000,
  notReadyMs: 60_000,
  statsIntervalMs: 5_000,
  queueLockMs: 10_000,
  backoffMs: 1_000,
  confirmationsMs: 1_000,
  wavesMs: 1_000,
  ticketKeyMs: 12 * 3_600_000,
  ticketLookMs: 60_000,
};
