import type { NewEvent, View } from '#platform/eventstore/event-store.js';
import { DomainError } from '#platform/kernel/errors.js';
import { canonicalJson, type JsonObject } from '#platform/kernel/json.js';

import { defaultRollout, type RolloutPolicy, rolloutPolicyOf } from './rollout-policy.js';
import { defaultTls, type TlsPolicy, tlsPolicyOf } from './tls-policy.js';

/** Where a gateway takes its traffic. The address is an IP literal of the node. */
export interface ListenAddress {
  readonly address: string;
  readonly port: number;
}

/** The settings of one gateway, complete: with no default left open. */
export interface GatewaySettings {
  /** A node may say otherwise for itself; this is what it uses when it does not. */
  readonly http: ListenAddress;
  /** Where TLS is taken, as `http`; null: nowhere, unless a node says so. There is no listener before there is a certificate. */
  readonly https: ListenAddress | null;
  /** How long a replaced Envoy keeps asking its clients to leave. Seconds. Of hot restarts: a listener that changes live has its own time. */
  readonly drainTimeS: number;
  /** How long a replaced Envoy lives at all; the next restart waits for it. Seconds, more than drainTimeS. */
  readonly parentShutdownTimeS: number;
  /** An idle client connection is closed after this; below parentShutdownTimeS - drainTimeS, so that none is cut. */
  readonly idleTimeoutMs: number;
  /** The timeout of a mapping that names none. */
  readonly defaultTimeoutMs: number;
  /** The static service list: the name of a service, and where its instances run, each `address:port`. */
  readonly services: Readonly<Record<string, readonly string[]>>;
  /** May a mapping or a service point at the gateway's own machine? For development. */
  readonly allowLoopbackUpstreams: boolean;
  /** Statistics of each mapping: `auto` keeps them up to 10,000 routes. */
  readonly perRouteStats: 'auto' | 'on' | 'off';
  /** `live`: Envoy takes changes without a restart. `hot-restart`: each change starts the next Envoy. */
  readonly delivery: 'live' | 'hot-restart';
  readonly rollout: RolloutPolicy;
  readonly tls: TlsPolicy;
}

/**
 * What a new gateway starts with. The window (10 - 2 = 8 s) is above both the default timeout and the idle timeout, so a
 * hot restart cuts neither a request nor a connection of an ordinary client.
 */
export const defaultSettings: GatewaySettings = {
  http: { address: '127.0.0.1', port: 8080 },
  https: null,
  drainTimeS: 2,
  parentShutdownTimeS: 10,
  idleTimeoutMs: 5000,
  defaultTimeoutMs: 5000,
  services: {},
  allowLoopbackUpstreams: false,
  perRouteStats: 'auto',
  delivery: 'live',
  rollout: defaultRollout,
  tls: defaultTls,
};

/** How long a request or a pause may last without being cut by a hot restart, in milliseconds. */
export function hotRestartWindowMs(settings: Pick<GatewaySettings, 'drainTimeS' | 'parentShutdownTimeS'>): number {
  return (settings.parentShutdownTimeS - settings.drainTimeS) * 1000;
}

/** What happens to a gateway's settings. */
export type GatewayEvent = GatewayCreated | GatewayConfigured;
interface GatewayCreated extends NewEvent {
  readonly type: 'GatewayCreated';
}
interface GatewayConfigured extends NewEvent {
  readonly type: 'GatewayConfigured';
}

/** 2: with `rollout`. 3: with `tls`. */
const schemaVersion = 3;
const subject = 'gateway';

/** Creates a gateway. @throws DomainError `conflict` `gateway_exists`. */
export const createGateway =
  (settings: GatewaySettings) =>
  (view: View): GatewayEvent[] => {
    if (view.subject(subject).state !== null)
      throw new DomainError('conflict', 'gateway_exists', 'There is a gateway of this name already.');
    return [{ type: 'GatewayCreated', schemaVersion, subject, state: settingsToJson(settings), ...references(settings.tls) }];
  };

/** Replaces the settings whole. Nothing to do when they are the same. @throws DomainError `not_found` `gateway_not_found`. */
export const configureGateway =
  (decide: (present: GatewaySettings) => GatewaySettings) =>
  (view: View): GatewayEvent[] => {
    const before = view.subject(subject).state;
    if (before === null) throw new DomainError('not_found', 'gateway_not_found', 'There is no such gateway; create it first.');
    const event = settingsTransition(subject, before, settingsToJson(decide(settingsOf(before))));
    return event === undefined ? [] : [event];
  };

/**
 * The event that takes a gateway's settings from one state to another; undefined when they are equal.
 * @throws DomainError `conflict` `gateway_stays`: settings begin and end with their gateway, which does not end.
 */
export function settingsTransition(_subject: string, before: JsonObject | null, after: JsonObject | null): GatewayEvent | undefined {
  if (before === null || after === null)
    throw new DomainError('conflict', 'gateway_stays', 'A gateway is not created or ended by a change of its configuration.');
  if (canonicalJson(before) === canonicalJson(after)) return undefined;
  return { type: 'GatewayConfigured', schemaVersion, subject, state: after, ...references(tlsPolicyOf(after.tls)) };
}

/** What must live as long as the settings name it. */
function references({ defaultCertificate: name }: TlsPolicy): Pick<NewEvent, 'references'> {
  return name === null ? {} : { references: [`certificate/${name}`] };
}

/** Settings out of the log; what an older version did not know has its default, and the delivery that there was then. */
export function settingsOf(state: JsonObject): GatewaySettings {
  const known = Object.keys(defaultSettings).filter((key) => state[key] !== undefined && state[key] !== null);
  const said = Object.fromEntries(known.map((key) => [key, state[key]]));
  return { ...defaultSettings, delivery: 'hot-restart', ...said, rollout: rolloutPolicyOf(state.rollout), tls: tlsPolicyOf(state.tls) };
}

/** Settings as the log holds them. */
export function settingsToJson(settings: GatewaySettings): JsonObject {
  const { http, https, services, tls } = settings;
  const { clientCertificates: clients } = tls;
  return {
    ...settings,
    http: { ...http },
    https: https === null ? null : { ...https },
    rollout: { ...settings.rollout },
    tls: {
      ...tls,
      ciphers: [...tls.ciphers],
      clientCertificates: clients === null ? null : { ...clients, hosts: [...clients.hosts] },
    },
    services: Object.fromEntries(Object.entries(services).map(([name, at]) => [name, [...at]])),
  };
}
