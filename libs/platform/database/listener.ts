import pg from 'pg';

import { connectionOptions, type DatabaseLog } from './database.js';

const RETRY_MS = { first: 50, most: 5_000 };
const PROBE_MS = 15_000; // a connection cut without a word (a firewall, a frozen host) looks alive until it is used

/**
 * LISTEN on a connection of its own. Notifications are wake-ups: they may be lost whenever the connection is, so
 * `onReconnect` is called each time listening begins, and the caller looks for itself then.
 */
export function listen(options: {
  readonly url: string;
  readonly channels: readonly string[];
  onNotify(channel: string, payload: string): void;
  onReconnect(): void;
  readonly log?: DatabaseLog;
}): { close(): Promise<void> } {
  let closed = false;
  let retryMs = RETRY_MS.first;
  let timer: NodeJS.Timeout | undefined;
  let current: pg.Client | undefined;

  const lost = (client: pg.Client, err?: unknown) => {
    if (client !== current) return;
    current = undefined;
    clearTimeout(timer);
    client.end().catch(() => undefined); // it is lost already
    if (closed) return;
    options.log?.warn({ err, retryMs }, 'the notification connection was lost');
    timer = setTimeout(connect, retryMs * (0.5 + Math.random() / 2)); // jitter: many processes lose a server together
    retryMs = Math.min(retryMs * 2, RETRY_MS.most);
  };

  const connect = () => {
    const client = new pg.Client({ ...connectionOptions(options.url, 'chancery-listen'), query_timeout: 10_000 });
    current = client;
    client.on('error', (err) => lost(client, err));
    client.on('end', () => lost(client));
    client.on('notification', ({ channel, payload }) => options.onNotify(channel, payload ?? ''));
    const start = async () => {
      await client.connect();
      for (const channel of options.channels) await client.query(`LISTEN ${pg.escapeIdentifier(channel)}`);
    };
    start().then(
      () => {
        if (closed || client !== current) return;
        retryMs = RETRY_MS.first;
        options.onReconnect();
        probe(client);
      },
      (err) => lost(client, err),
    );
  };

  const probe = (client: pg.Client) => {
    timer = setTimeout(() => {
      client.query('SELECT 1').then(
        () => client === current && !closed && probe(client),
        (err) => lost(client, err),
      );
    }, PROBE_MS);
    timer.unref();
  };

  connect();
  return {
    async close() {
      closed = true;
      clearTimeout(timer);
      const client = current;
      current = undefined;
      await client?.end().catch(() => undefined); // ending a connection that is being lost
    },
  };
}
