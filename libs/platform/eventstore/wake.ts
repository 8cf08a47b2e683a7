import type { DatabaseLog } from '#platform/database/database.js';
import { listen } from '#platform/database/listener.js';

/** The channel on which the append says "look at this stream". Its payload is the stream's name and never data to be trusted. */
export const LOG_CHANNEL = 'chancery_log';

/** Wake-ups for followers: one LISTEN connection serves all followers of a process. */
export interface Wake {
  /** `onWake` gets the stream that moved, or undefined for "any may have: look at all" after a connection was lost and found. Returns how to stop. */
  subscribe(onWake: (stream: string | undefined) => void): () => void;
  close(): Promise<void>;
}

export function createWake(url: string, log?: DatabaseLog): Wake {
  const subscribers = new Set<(stream: string | undefined) => void>();
  const tell = (stream: string | undefined) => {
    for (const subscriber of subscribers) subscriber(stream);
  };
  const listener = listen({
    url,
    channels: [LOG_CHANNEL],
    onNotify: (_channel, payload) => tell(payload),
    onReconnect: () => tell(undefined),
    ...(log ? { log } : {}),
  });
  return {
    subscribe(onWake) {
      subscribers.add(onWake);
      return () => subscribers.delete(onWake);
    },
    close: () => listener.close(),
  };
}
