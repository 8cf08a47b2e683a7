/** What a newcomer needs to know of a running system. */
export interface Running {
  readonly api: string;
  readonly gateway: string;
  readonly tls: string;
  readonly data: string;
  /** Where the demo service answers by itself. */
  readonly usersvc: string;
}

/** One step of the walkthrough: what it is for, and the line to paste. */
export interface WalkthroughStep {
  readonly say: string;
  readonly line: string;
}

/**
 * The walkthrough of the first Ambassador, as lines for a shell that run as they stand. The acceptance test runs exactly these.
 * `$T` holds the token and `$AMBASSADORURL` the gateway, set by the first line.
 */
export function walkthrough(running: Running): readonly WalkthroughStep[] {
  const { api, gateway, tls, data, usersvc } = running;
  const call = (method: string, path: string, body?: string) =>
    `curl -sS -u x:$T${method === 'GET' ? '' : ` -X ${method}`} ${api}${path}${body === undefined ? '' : ` -H 'content-type: application/json' -d '${body}'`}`;
  return [
    { say: 'the token, and where the gateway is', line: `T=$(cat '${data}/token') AMBASSADORURL=${gateway}` },
    { say: 'the demo service answers by itself', line: `curl -sS ${usersvc}/health` },
    { say: 'the admin interface', line: `curl -sS ${api}/ambassador/health` },
    {
      say: 'one POST, and the service is reachable',
      line: call('POST', '/ambassador/mapping/user', '{"prefix":"/user/","service":"usersvc"}'),
    },
    {
      say: 'through the gateway, a second or two later',
      line: 'curl -sS --retry 20 --retry-delay 1 --retry-all-errors -f $AMBASSADORURL/user/health',
    },
    { say: 'what is mapped', line: call('GET', '/ambassador/mappings') },
    { say: 'what it carries', line: call('GET', '/ambassador/stats') },
    {
      say: 'a service that expects its prefix',
      line: call('POST', '/ambassador/mapping/grue', '{"prefix":"/grue/","service":"gruesvc","rewrite":"/grue/"}'),
    },
    { say: 'and through the gateway', line: 'curl -sS --retry 20 --retry-delay 1 --retry-all-errors -f $AMBASSADORURL/grue/health' },
    { say: 'a certificate to try TLS with (signed by itself), put with its key', line: certificateLine(running) },
    {
      say: 'and the same over TLS',
      line: `curl -sS --retry 20 --retry-delay 1 --retry-all-errors -f --cacert '${data}/localhost.crt' ${tls}/grue/health`,
    },
    { say: 'the first one goes again; the other never misses a request', line: call('DELETE', '/ambassador/mapping/user') },
  ];
}

/** Makes a certificate for localhost and gives it to the gateway; a line of PEM is a line of JSON text. */
function certificateLine({ api, data }: Running): string {
  const [chain, key] = [`'${data}/localhost.crt'`, `'${data}/localhost.key'`];
  const names = '-subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE';
  const made = `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 ${names} -keyout ${key} -out ${chain} 2>/dev/null`;
  const text = (file: string) => `$(awk '{printf "%s\\\\n",$0}' ${file})`;
  const body = `"{\\"certificateChain\\":\\"${text(chain)}\\",\\"privateKey\\":\\"${text(key)}\\"}"`;
  return `${made} && curl -sS -u x:$T -X PUT ${api}/v1/gateways/default/certificates/localhost -H 'content-type: application/json' -d ${body}`;
}

/** The page that `bin/dev` prints when all is ready. */
export function readyText(
  running: Omit<Running, 'usersvc'> & {
    readonly usersvc: string | undefined;
    readonly tookMs: number;
    readonly logs: string;
    readonly database: string;
  },
): string {
  const { usersvc } = running;
  const steps =
    usersvc !== undefined
      ? [
          '',
          '  Try it (each line can be pasted):',
          '',
          ...walkthrough({ ...running, usersvc }).flatMap(({ say, line }) => [`  # ${say}`, `  ${line}`]),
        ]
      : [];
  return [
    `  API        ${running.api}            docs: ${running.api}/docs   spec: ${running.api}/v1/openapi.json`,
    `  Gateway    ${running.gateway}    with TLS, once there is a certificate: ${running.tls}`,
    `  Metrics    ${running.api}/metrics    health: /healthz  /readyz`,
    `  Token      ${running.data}/token     (mode 0600; Authorization: Bearer, or as the password of Basic)`,
    `  Services   ${running.data}/services.yaml   names and addresses; saved changes are seen`,
    `  Database   ${running.database}`,
    `  Logs       ${running.logs}`,
    ...steps,
    '',
    '  For development: plain HTTP on 127.0.0.1 only, the token in a file. Ctrl-C ends it; the same command resumes.',
    `  Ready in ${(running.tookMs / 1000).toFixed(1)} s`,
  ].join('\n');
}
