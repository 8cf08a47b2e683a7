import { isIP } from 'node:net';

import { z } from 'zod';

import { addressFault, parseInstance } from '#platform/envoy/model/upstream-address.js';
import { readBody } from '#platform/http/body-shape.js';
import { DomainError, type FieldError } from '#platform/kernel/errors.js';

import { defaultSettings, type GatewaySettings, hotRestartWindowMs } from './gateway.js';
import { defaultRollout, rolloutFaults } from './rollout-policy.js';
import { defaultClientCertificates, defaultTls, type TlsPolicy, tlsFaults } from './tls-policy.js';

const listen = z.strictObject({ address: z.string(), port: z.int() });

const rollout = z
  .strictObject({
    strategy: z.enum(['immediate', 'waves', 'manual']),
    canary: z.string().nullable().describe('The targets of the first wave: a name, or a pattern with *. null: the first by name.'),
    sharePercent: z.int().describe('How many of the targets have the version after the second wave, in per cent.'),
    soakS: z.int().describe('How long each wave is watched after it was proven, in seconds.'),
    proofDeadlineS: z.int().describe('How long the targets of a wave have to prove it, in seconds.'),
    errorRisePercent: z.number().describe('A wave is halted when 5xx or no-route answers rise by more percentage points than this.'),
    shrinkPercent: z
      .int()
      .describe(
        'A push that loses more of the routes, hosts or certificates than this, in per cent, is held until it is confirmed. 100: never.',
      ),
  })
  .partial();

const clientCertificates = z
  .strictObject({
    hosts: z.array(z.string()).describe('Which names are served to clients with a certificate only: exact, *.suffix, or * for all.'),
    caBundle: z.string().nullable().describe("PEM of the authorities that clients' certificates are checked against."),
    principals: z.boolean().describe("Only certificates whose fingerprints are those of the gateway's principals."),
    forward: z.boolean().describe('Tell services who the client is, in x-forwarded-client-cert.'),
  })
  .partial();

const tls = z
  .strictObject({
    minimumVersion: z.enum(['1.2', '1.3']),
    ciphers: z.array(z.string()).describe('Of TLS 1.2, the first preferred.'),
    http2: z.boolean().describe('Offer HTTP/2 by ALPN.'),
    redirectHttp: z.boolean().describe('Answer requests over http with a redirect (308) to https.'),
    redirectPort: z.int().nullable().describe('The port in that redirect; null: the one that https listens on.'),
    defaultCertificate: z.string().nullable().describe('The certificate for names that none has; null: the first by name.'),
    clientCertificates: clientCertificates.nullable().describe('Demand certificates of clients; null: of none.'),
  })
  .partial();

const fields = {
  http: listen,
  https: listen.nullable(),
  drainTimeS: z.int(),
  parentShutdownTimeS: z.int(),
  idleTimeoutMs: z.int(),
  defaultTimeoutMs: z.int(),
  services: z.record(z.string(), z.array(z.string())),
  allowLoopbackUpstreams: z.boolean(),
  perRouteStats: z.enum(['auto', 'on', 'off']),
  delivery: z.enum(['live', 'hot-restart']),
  rollout,
  tls,
};

/** The body of `PUT /v1/gateways/{gateway}/settings`: what is left out has its default. */
export const GatewaySettingsInput = z.strictObject(fields).partial();

/** The body of `PATCH /v1/gateways/{gateway}/settings` (RFC 7396). A service is taken off the list with null. */
export const GatewaySettingsPatch = z
  .strictObject({ ...fields, http: listen.partial(), services: z.record(z.string(), z.array(z.string()).nullable()) })
  .partial();
export type GatewaySettingsInput = z.infer<typeof GatewaySettingsInput>;
export type GatewaySettingsPatch = z.infer<typeof GatewaySettingsPatch>;

/** The body of `POST /v1/gateways`. */
export const GatewayCreateInput = z.strictObject({ name: z.string(), settings: GatewaySettingsInput.optional() });

/** Settings out of a replace: every default filled in, and checked. @throws DomainError `invalid`. */
export function replacedSettings(input: GatewaySettingsInput): GatewaySettings {
  const { rollout: policy, tls: said, ...rest } = input;
  return checked({
    ...defaultSettings,
    ...defined(rest),
    rollout: { ...defaultRollout, ...defined(policy ?? {}) },
    tls: mergedTls(defaultTls, said ?? {}),
  });
}

/** Settings out of a merge patch over what is there. @throws DomainError `invalid`. */
export function patchedSettings(present: GatewaySettings, patch: GatewaySettingsPatch): GatewaySettings {
  const { http, services, rollout: policy, tls: said, ...rest } = patch;
  const merged = new Map<string, readonly string[] | null>([...Object.entries(present.services), ...Object.entries(services ?? {})]);
  return checked({
    ...present,
    ...defined(rest),
    http: { ...present.http, ...defined(http ?? {}) },
    rollout: { ...present.rollout, ...defined(policy ?? {}) },
    tls: mergedTls(present.tls, said ?? {}),
    services: Object.fromEntries([...merged].filter((entry): entry is [string, readonly string[]] => entry[1] !== null)),
  });
}

function mergedTls(present: TlsPolicy, { clientCertificates: clients, ...rest }: z.infer<typeof tls>): TlsPolicy {
  const merged = { ...present, ...defined(rest) };
  if (clients === undefined) return merged;
  const before = present.clientCertificates ?? defaultClientCertificates;
  return { ...merged, clientCertificates: clients === null ? null : { ...before, ...defined(clients) } };
}

/** The name of a gateway: it becomes part of stream names, file names and URLs. @throws DomainError `invalid`. */
export function checkGatewayName(name: string, pointer = '/name'): void {
  if (/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name)) return;
  const message = 'The name of a gateway is 1 to 63 lower-case letters, digits and inner hyphens.';
  throw new DomainError('invalid', 'gateway_name_invalid', message, { errors: [{ pointer, code: 'gateway_name_invalid', message }] });
}

/** Reads the body of a settings replace: its shape; what it means is checked with the command. @throws DomainError `malformed`. */
export function parseSettings(body: unknown): GatewaySettingsInput {
  return readBody(GatewaySettingsInput, body);
}

/** Reads the body of a settings patch. @throws DomainError `malformed`. */
export function parseSettingsPatch(body: unknown): GatewaySettingsPatch {
  return readBody(GatewaySettingsPatch, body);
}

/** Reads the body of a gateway's creation. @throws DomainError `malformed` or `invalid`. */
export function parseGatewayCreate(body: unknown): { name: string; settings: GatewaySettingsInput } {
  const { name, settings } = readBody(GatewayCreateInput, body);
  checkGatewayName(name);
  return { name, settings: settings ?? {} };
}

function defined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}

function checked(settings: GatewaySettings): GatewaySettings {
  const errors = [
    ...listenFaults(settings),
    ...timeFaults(settings),
    ...serviceFaults(settings),
    ...rolloutFaults(settings.rollout),
    ...tlsFaults(settings.tls),
  ];
  const first = errors[0];
  if (first !== undefined) throw new DomainError('invalid', first.code, first.message, { errors });
  return settings;
}

function* listenFaults({ http, https }: GatewaySettings): Iterable<FieldError> {
  for (const [name, listener] of [['http', http] as const, ['https', https] as const]) {
    if (listener === null) continue;
    if (isIP(listener.address) === 0 || listener.address.includes('%')) {
      yield {
        pointer: `/${name}/address`,
        code: 'address_invalid',
        message: 'Give an IP address, such as 127.0.0.1, or 0.0.0.0 for every interface.',
      };
    }
    if (!isPort(listener.port)) yield { pointer: `/${name}/port`, code: 'port_out_of_range', message: 'A port is from 1 to 65535.' };
  }
  if (https !== null && https.port === http.port) {
    yield { pointer: '/https/port', code: 'port_taken', message: 'http has this port already; choose another.' };
  }
}

function* timeFaults(settings: GatewaySettings): Iterable<FieldError> {
  const ranges = {
    drainTimeS: [1, 600],
    parentShutdownTimeS: [2, 900],
    idleTimeoutMs: [100, 600_000],
    defaultTimeoutMs: [1, 3_600_000],
  } as const;
  let inRange = true;
  for (const [key, [least, most]] of Object.entries(ranges) as [keyof typeof ranges, readonly [number, number]][]) {
    if (settings[key] >= least && settings[key] <= most) continue;
    inRange = false;
    yield { pointer: `/${key}`, code: 'time_out_of_range', message: `${key} is from ${least} to ${most}.` };
  }
  if (!inRange) return;
  const windowMs = hotRestartWindowMs(settings);
  if (windowMs < 1000) {
    yield {
      pointer: '/parentShutdownTimeS',
      code: 'window_too_short',
      message: 'parentShutdownTimeS must be at least one second above drainTimeS.',
    };
  } else if (settings.idleTimeoutMs >= windowMs) {
    const message = `idleTimeoutMs must be below the restart window of ${windowMs} ms (parentShutdownTimeS - drainTimeS), or idle connections are cut.`;
    yield { pointer: '/idleTimeoutMs', code: 'idle_timeout_exceeds_window', message };
  }
}

function* serviceFaults({ services, allowLoopbackUpstreams }: GatewaySettings): Iterable<FieldError> {
  const entries = Object.entries(services);
  if (entries.length > 1000)
    yield {
      pointer: '/services',
      code: 'services_too_many',
      message: 'At most 1,000 services stand in the settings; use discovery for more.',
    };
  for (const [name, instances] of entries) {
    const at = `/services/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/.test(name) || name.length > 253) {
      yield {
        pointer: at,
        code: 'service_name_invalid',
        message: 'A service name is lower-case letters, digits and inner hyphens, as in "usersvc" or "usersvc.default".',
      };
    }
    if (instances.length > 100)
      yield { pointer: at, code: 'instances_too_many', message: 'At most 100 instances of a service stand in the settings.' };
    for (const [i, instance] of instances.entries()) {
      const fault = instanceFault(instance, allowLoopbackUpstreams);
      if (fault !== undefined) yield { pointer: `${at}/${i}`, ...fault };
    }
  }
}

function instanceFault(text: string, allowLoopback: boolean): { code: string; message: string } | undefined {
  const instance = parseInstance(text);
  if (instance === undefined) {
    return {
      code: 'instance_invalid',
      message: 'An instance is address:port with an IP address, such as 10.0.0.1:8080 or [fd00::1]:8080.',
    };
  }
  return addressFault(instance.address, { allowLoopback });
}

function isPort(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= 65_535;
}
