import { canonical, isMembers, type Members, same, type Value } from './canonical.js';

/**
 * The configuration of one gateway as the interface promises it, in memory and as simply as can be: a version is the whole state. Written from the
 * documentation alone; it shares no line with the product, so that the two can disagree.
 */
export type State = ReadonlyMap<string, Members>;

/** Why a command is refused; `codes`: any of them may be the answer's. */
export class Refusal extends Error {
  constructor(readonly codes: readonly string[]) {
    super(codes.join(' or '));
  }
}

export const defaultSettings: Members = {
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
  rollout: {
    strategy: 'immediate',
    canary: null,
    sharePercent: 25,
    soakS: 60,
    proofDeadlineS: 120,
    errorRisePercent: 5,
    shrinkPercent: 30,
  },
  tls: {
    minimumVersion: '1.2',
    ciphers: [
      'ECDHE-ECDSA-AES128-GCM-SHA256',
      'ECDHE-RSA-AES128-GCM-SHA256',
      'ECDHE-ECDSA-AES256-GCM-SHA384',
      'ECDHE-RSA-AES256-GCM-SHA384',
      'ECDHE-ECDSA-CHACHA20-POLY1305',
      'ECDHE-RSA-CHACHA20-POLY1305',
    ],
    http2: true,
    redirectHttp: false,
    redirectPort: null,
    defaultCertificate: null,
    clientCertificates: null,
  },
};

/** The label that says who owns a mapping. */
const ownerLabel = 'owner';

/** What may be wrong with a body by itself, which is found before anything else. */
export const shapeFaults = ['prefix_or_path_missing', 'prefix_and_path'];

/** A state with one subject set, or (null) gone. */
export function withSubject(state: State, subject: string, value: Members | null): State {
  const next = new Map(state);
  if (value === null) next.delete(subject);
  else next.set(subject, value);
  return next;
}

/** The subjects in which two states differ. */
export function changed(a: State, b: State): string[] {
  return [...new Set([...a.keys(), ...b.keys()])].filter((subject) => !same(a.get(subject), b.get(subject)));
}

/** A body with its owner's label. */
export function owned(body: Members, owner: string | undefined): Members {
  return owner === undefined ? body : { ...body, labels: { ...(isMembers(body.labels) ? body.labels : {}), [ownerLabel]: owner } };
}

/** Whose a mapping is; undefined for nobody's. */
export function ownerOf(value: Members | undefined): Value | undefined {
  return isMembers(value?.labels) ? value.labels[ownerLabel] : undefined;
}

/** @throws Refusal for a time that is out of range. */
export function checkedSettings(settings: Members): Members {
  if ((settings.drainTimeS as number) < 1) throw new Refusal(['time_out_of_range']);
  return settings;
}

/** A body as the state that it becomes. @throws Refusal unless it has a prefix or a path, and not both. */
export function wholeMapping(name: string, body: Members, defaultTimeoutMs: Value): Members {
  const [prefix, path] = [body.prefix ?? null, body.path ?? null];
  if ((prefix === null) === (path === null)) throw new Refusal(shapeFaults);
  const headers = Object.entries((body.headers ?? {}) as Members).map(([header, value]) => [header.toLowerCase(), value]);
  return {
    name,
    host: String(body.host ?? '*')
      .toLowerCase()
      .replace(/\.$/, ''),
    prefix,
    path,
    service: body.service as string,
    rewrite: body.rewrite ?? '/',
    methods: [...((body.methods ?? []) as string[])].sort(),
    headers: Object.fromEntries(headers),
    precedence: body.precedence ?? 0,
    timeoutMs: body.timeoutMs ?? defaultTimeoutMs,
    labels: body.labels ?? {},
  };
}

/** Two mappings may not match the same requests, two principals not have the same certificate. */
export function checkUnique(state: State): void {
  const taken = new Set<string>();
  for (const [subject, value] of state) {
    for (const key of uniqueKeys(subject, value)) {
      if (taken.has(key)) throw new Refusal(['claim_taken', 'revert_conflict']);
      taken.add(key);
    }
  }
}

function uniqueKeys(subject: string, value: Members): string[] {
  if (subject.startsWith('principal/')) return [`print ${String(value.fingerprint).replaceAll(':', '').toLowerCase()}`];
  if (!subject.startsWith('mapping/')) return [];
  const rest = canonical([value.host ?? null, value.prefix ?? null, value.path ?? null, value.headers ?? null]);
  const methods = value.methods as string[];
  return (methods.length === 0 ? ['any'] : methods).map((method) => `${method} ${rest}`);
}
