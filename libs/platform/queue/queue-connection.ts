import type { BackendFactory, QueueOptions } from 'bullmq';

/** What a backend gives: a factory for BullMQ, its connections, and how to close them. */
export interface QueueConnection {
  readonly factory: BackendFactory | undefined;
  readonly queue: QueueOptions['connection'];
  readonly worker: QueueOptions['connection'];
  close(): Promise<void>;
}
