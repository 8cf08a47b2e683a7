import { z } from 'zod';

const error = 'must be an ISO time with its zone, such as 2026-11-25T08:00:00Z, or a date (UTC), such as 2026-11-25';
const time = z.union([z.iso.datetime({ offset: true }), z.iso.date()], { error });
const DAY_MS = 86_400_000;

/** `since`: the first moment of the range. A date means its first moment, UTC. */
export const sinceParameter = time.transform((text) => new Date(text));

/**
 * `until`: the last moment of the range, to the millisecond that answers show, so that a `recordedAt` may be used as it was read; a date means the whole
 * day, UTC. Comes out as the first moment after the range.
 */
export const untilParameter = time.transform((text) => new Date(Date.parse(text) + (text.includes('T') ? 1 : DAY_MS)));
