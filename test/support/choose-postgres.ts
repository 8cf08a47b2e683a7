import { join } from 'node:path';

/** Which Postgres the database tests run on. */
export type PostgresChoice =
  | { readonly kind: 'embedded' }
  | { readonly kind: 'container' }
  | { readonly kind: 'url'; readonly url: string };

/** Where a Docker engine may listen. */
export type EngineAddress = { readonly socketPath: string } | { readonly host: string; readonly port: number };

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * CHANCERY_TEST_POSTGRES decides (`embedded`, `container`, `url` for what DATABASE_URL names); without it a DATABASE_URL, then an engine that
 * answers, then the embedded one. `engineAnswers` is asked only when it matters: a run that has its answer waits for nobody.
 * @throws Error for a word that is none of these, or `url` without a DATABASE_URL.
 */
export async function choosePostgres(environment: Environment, engineAnswers: () => Promise<boolean>): Promise<PostgresChoice> {
  const { CHANCERY_TEST_POSTGRES: asked, DATABASE_URL: url } = environment;
  switch (asked) {
    case 'embedded':
    case 'container':
      return { kind: asked };
    case 'url':
      if (!url) throw new Error('CHANCERY_TEST_POSTGRES=url needs DATABASE_URL: a role that may create databases and roles.');
      return { kind: 'url', url };
    case undefined:
    case '':
      if (url) return { kind: 'url', url };
      return { kind: (await engineAnswers()) ? 'container' : 'embedded' };
    default:
      throw new Error(`CHANCERY_TEST_POSTGRES=${asked} is none of embedded, container, url.`);
  }
}

/**
 * Where to look for an engine: what DOCKER_HOST names, else the sockets that exist at the usual places (the same as testcontainers' own). An address by
 * ssh or one that cannot be read is left out: it is for those who ask for `container` by name.
 */
export function engineAddresses(environment: Environment, home: string, exists: (path: string) => boolean): EngineAddress[] {
  const { DOCKER_HOST: named, XDG_RUNTIME_DIR: runtime } = environment;
  if (named) {
    const [, scheme, rest = ''] = /^([a-z]+):\/\/(.*)$/.exec(named) ?? [];
    if (scheme === 'unix') return exists(rest) ? [{ socketPath: rest }] : [];
    if (scheme !== 'tcp' && scheme !== 'http') return [];
    const address = URL.canParse(`http://${rest}`) ? new URL(`http://${rest}`) : undefined;
    return address ? [{ host: address.hostname, port: Number(address.port || 2375) }] : [];
  }
  const usual = ['/var/run/docker.sock', ...(runtime ? [join(runtime, 'docker.sock')] : []), join(home, '.docker/run/docker.sock')];
  return usual.filter(exists).map((socketPath) => ({ socketPath }));
}
