import { randomUUID } from 'node:crypto';

import { openDatabase } from '#platform/database/database.js';
import { DomainError } from '#platform/kernel/errors.js';

/**
 * The settings of the gateway on a development machine. Upstreams may be on loopback, as everything here is. The hot restart's window is short, so
 * that the next change need not wait long: lossless for requests and pauses below four seconds (parent shutdown less drain), and idle connections
 * are closed before that.
 */
const settings = { allowLoopbackUpstreams: true, drainTimeS: 1, parentShutdownTimeS: 5, idleTimeoutMs: 3_000 };

/** Makes the gateway `default` before the API does, with these settings. One that exists keeps its own: from the second start on they are the user's. */
export async function ensureDevGateway(databaseUrl: string): Promise<void> {
  // Loaded here, as a start that has its gateway is spared them.
  const { EventStore } = await import('#platform/eventstore/event-store.js');
  const { CreateGateway, CreateGatewayHandler } = await import('#features/gateway/create-gateway.js');
  const database = openDatabase({ url: databaseUrl, applicationName: 'chancery-dev', maxConnections: 2 });
  const events = new EventStore({ database });
  try {
    const context = { commandId: randomUUID(), actor: 'system', reason: 'the gateway of a development machine' };
    const request = { context, precondition: { subjects: { gateway: 'absent' as const } }, dryRun: false };
    await new CreateGatewayHandler(events).execute(new CreateGateway('default', settings, request));
  } catch (error) {
    const exists = error instanceof DomainError && (error.code === 'gateway_exists' || error.code === 'version_mismatch');
    if (!exists) throw error;
  } finally {
    await events.close();
    await database.close();
  }
}
