import { AnchorWriter } from '#features/verification/anchor-writer.js';
import type { ProjectorConfig } from '#platform/config/projector-config.js';
import type { Database } from '#platform/database/database.js';
import { readHeads } from '#platform/eventstore/log-heads.js';
import type { Log } from '#platform/log/log.js';

/** Anchors the heads of the log for as long as this process owns the projection: one writer at a time, like everything the owner does. */
export interface Anchoring {
  /** `last`: anchors once more, for an end in good order; an owner that lost its right must not, since another may be writing. */
  close(options: { readonly last: boolean }): Promise<void>;
}

/**
 * Appends the heads that moved to the anchor file, at once and then at each interval. A failure (a full disk, a database that is away, a key that may
 * not be used) is logged and tried again at the next interval; it stops nothing else.
 */
export function startAnchoring(options: {
  readonly database: Database;
  readonly anchors: ProjectorConfig['anchors'];
  readonly log: Log;
  readonly onAnchored: () => void;
}): Anchoring {
  const { database, anchors, log, onAnchored } = options;
  if (anchors === undefined) {
    log.warn(
      'no anchors are kept outside the database (CHANCERY_ANCHOR_FILE): a log that is cut off or rebuilt whole could not be told from a true one',
    );
    return { close: async () => undefined };
  }
  let writer: AnchorWriter | undefined;
  const anchor = async () => {
    try {
      writer ??= new AnchorWriter({ path: anchors.file, keyFile: anchors.keyFile, log });
      await writer.append(await readHeads(database.db), new Date());
      onAnchored();
    } catch (err) {
      log.error({ err, file: anchors.file }, 'the log could not be anchored; it is tried again');
    }
  };
  let under: Promise<void> | undefined;
  const begin = () => {
    under ??= anchor().finally(() => {
      under = undefined;
    });
  };
  begin();
  const timer = setInterval(begin, anchors.everyMs);
  return {
    close: async ({ last }) => {
      clearInterval(timer);
      await under;
      if (last) await anchor();
    },
  };
}
