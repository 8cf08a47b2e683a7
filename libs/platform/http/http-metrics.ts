import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

interface GatewayHead {
  readonly gateway: string;
  readonly version: number;
}

/** The api's metrics. Labels are closed sets (a route is its template, never a path), so a client cannot make them grow. */
export class HttpMetrics {
  readonly registry = new Registry();
  readonly requestSeconds = new Histogram({
    name: 'chancery_http_request_duration_seconds',
    help: 'Time from the request line to the last byte of the answer.',
    labelNames: ['method', 'route', 'status'] as const,
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [this.registry],
  });
  readonly commands = new Counter({
    name: 'chancery_commands_total',
    help: 'Commands by type and by what became of them (accepted, unchanged, replayed, dry_run, or the code of the refusal).',
    labelNames: ['type', 'result'] as const,
    registers: [this.registry],
  });
  readonly commandSeconds = new Histogram({
    name: 'chancery_command_duration_seconds',
    help: 'Time from the command to its commit or refusal.',
    labelNames: ['type'] as const,
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [this.registry],
  });
  readonly events = new Counter({
    name: 'chancery_events_appended_total',
    help: 'Events that this process appended.',
    labelNames: ['type'] as const,
    registers: [this.registry],
  });
  readonly authenticationFailures = new Counter({
    name: 'chancery_authentication_failures_total',
    help: 'Requests refused for their token, by the code of the refusal.',
    labelNames: ['code'] as const,
    registers: [this.registry],
  });

  /** @param readHeads asked at each scrape; a process that only reads must show the newest version too. */
  constructor(build: { readonly version: string }, readHeads: () => Promise<readonly GatewayHead[]>) {
    collectDefaultMetrics({ register: this.registry });
    new Gauge({
      name: 'chancery_config_version',
      help: 'The newest version of a gateway in the log; missing while the database does not answer.',
      labelNames: ['gateway'] as const,
      registers: [this.registry],
      async collect() {
        const heads = await readHeads().catch(() => []); // The other metrics are wanted most when the database is away; its readiness has its own address.
        this.reset();
        for (const { gateway, version } of heads) this.set({ gateway }, version);
      },
    });
    new Gauge({ name: 'chancery_build_info', help: 'Always 1.', labelNames: ['version', 'node'] as const, registers: [this.registry] }).set(
      { version: build.version, node: process.version },
      1,
    );
  }
}
