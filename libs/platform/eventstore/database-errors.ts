/**
 * What an error of a statement means for the one who sent it:
 * - `lost`: the connection went; the transaction may or may not have been committed.
 * - `aborted`: certainly not committed, and may well succeed when tried again (deadlock, a lock not had in time, too many connections).
 * - `refused`: the server cannot do it now, whoever asks (disk full, read-only, not our password).
 * - `unstorable`: a value that the database cannot hold; another try ends the same way.
 * - `raced`: a unique key was taken between check and write; the truth is in the database now.
 * - `defect`: anything else is a mistake in this program.
 */
export type DatabaseFailure = 'lost' | 'aborted' | 'refused' | 'unstorable' | 'raced' | 'defect';

const aborted = /^(40|55P03$|57014$|53300$)/;
const lost = /^(08|57P0[123]$)/;
const refused = /^(53|58|25006$|28|3D000$|57)/;
const unstorable = /^(22|2200|54|23514$)/;

export function classify(error: unknown): DatabaseFailure {
  const code = (error as { code?: unknown }).code;
  if (typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code)) {
    if (aborted.test(code)) return 'aborted';
    if (lost.test(code)) return 'lost';
    if (refused.test(code)) return 'refused';
    if (code === '23505') return 'raced';
    if (unstorable.test(code)) return 'unstorable';
    return 'defect';
  }
  // No SQLSTATE: it did not come from the server. Socket errors have a code such as ECONNRESET; pg's own ("Connection terminated
  // unexpectedly", "timeout exceeded when trying to connect") have only a text.
  if (typeof code === 'string' && /^E[A-Z]+$/.test(code)) return 'lost';
  if (error instanceof Error && /connection|connect|timeout|not queryable|Client was closed/i.test(error.message)) return 'lost';
  return 'defect';
}
