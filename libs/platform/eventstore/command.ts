import type { JsonObject } from '#platform/kernel/json.js';

/** What a decision makes of one subject. */
export interface NewEvent {
  /** Past tense: `MappingCreated`. */
  readonly type: string;
  readonly schemaVersion: number;
  /** Kind and name: `mapping/user`. */
  readonly subject: string;
  /** The subject's whole new state; null = the subject ends. */
  readonly state: JsonObject | null;
  /** Every key that this state holds alone in its stream: the complete new set. */
  readonly claims?: readonly string[];
  /** Subjects of the same stream that must live while this one does: the complete new set. */
  readonly references?: readonly string[];
}

/** Who asked for what. */
export interface CommandContext {
  /** A UUID, one per request: the same command is recorded once, however often it is sent. */
  readonly commandId: string;
  /** The command's name: `CreateMapping`. */
  readonly action: string;
  /** `token/<id>` or `system`: an id, never a person's name, because it is hashed into the chain for ever. */
  readonly actor: string;
  readonly reason?: string | null;
  readonly requestId?: string | null;
  readonly idempotencyKey?: string | null;
  /** SHA-256 (hex) of method, path and body: required with a key, so that the key cannot be reused for another request. */
  readonly fingerprint?: string | null;
  /** The version is undone by itself unless somebody confirms it within so many milliseconds. */
  readonly confirmWithinMs?: number | null;
}

export interface SubjectRecord {
  readonly subject: string;
  /** The subject's own version; 0 = never existed. A subject that ended keeps counting when its name comes back. */
  readonly version: number;
  /** The version of the stream that made this state. */
  readonly streamVersion: number;
  /** Of the state's shape: an older one is read through its kind's upcaster. 0 = never existed. */
  readonly schemaVersion: number;
  /** Null = it does not exist (now). */
  readonly state: JsonObject | null;
  readonly recordedAt: string | null;
}

/** What a decision may look at: the subjects that its request named, in one snapshot. */
export interface View {
  readonly streamVersion: number;
  /** @throws Error for a subject that the request did not name: what was not read is not guarded against change. */
  subject(name: string): SubjectRecord;
}

/** As much of it as a request may ask for. */
export interface WideView extends View {
  /** Does any subject of this kind live? @throws Error for a kind that the request did not name. */
  hasAny(kind: string): boolean;
}

/** What the caller last saw and will not overwrite when it changed. */
export interface Precondition {
  readonly streamVersion?: number;
  readonly subjects?: Readonly<Record<string, number | 'absent' | 'present'>>;
}

export interface HandleRequest {
  readonly stream: string;
  /** Every subject that the decision reads or writes. */
  readonly subjects: readonly string[];
  /** Kinds of which the decision asks whether the stream has any. That is read and not guarded: the append does not notice one that is made meanwhile. */
  readonly kinds?: readonly string[];
  readonly context: CommandContext;
  readonly precondition?: Precondition;
  /** The same decision, nothing written. */
  readonly dryRun?: boolean;
  /** For a command that writes far more than others do: how long it may take instead of the store's deadline. */
  readonly deadlineMs?: number;
}

/** Pure: looks at the view, throws a DomainError to refuse, answers [] when there is nothing to do. It may be called again on a newer view. */
export type Decide = (view: View) => readonly NewEvent[] | Decided;

/** A decision that may ask for the kinds which its request named. */
export type DecideWidely = (view: WideView) => ReturnType<Decide>;

/** Events with what the record says beside them. */
export interface Decided {
  readonly events: readonly NewEvent[];
  /** What the command's name alone does not say: which version a rollback restored, and the digest of what it restored. Hashed into the chain. */
  readonly details: JsonObject | null;
  /** What the answer says beside what is recorded. */
  readonly notes?: JsonObject | undefined;
  /** The decision rests on all of the stream as it was at this version: it is appended at that very version, or decided again. */
  readonly atVersion?: number | undefined;
}

export interface RecordedEvent {
  readonly subject: string;
  readonly subjectVersion: number;
  readonly type: string;
  readonly schemaVersion: number;
  readonly state: JsonObject | null;
  /** The place within its version, from 0. */
  readonly index: number;
}

export interface Outcome {
  /** The stream's version: the one that this command made, or the current one when it made none. */
  readonly version: number;
  readonly commandId: string;
  readonly recordedAt: string;
  readonly events: readonly RecordedEvent[];
  /** The same Idempotency-Key was answered before; these are the events of that time. */
  readonly replayed: boolean;
  /** The decision found nothing to do. */
  readonly unchanged: boolean;
  readonly dryRun: boolean;
  /** The stream's version that the decision was made on. */
  readonly basedOn: number;
  /** What the record says beside its events. */
  readonly details: JsonObject | null;
  /** What the decision said beside the record; nothing of a replay. */
  readonly notes?: JsonObject | undefined;
  /** The request's subjects as they were before. */
  readonly before: ReadonlyMap<string, SubjectRecord>;
}

/** A decided command on its way to the log: what to write, and everything that the decision rests on. */
export interface DecidedCommand {
  readonly stream: string;
  readonly context: CommandContext;
  /** One line of JSON. */
  readonly details: string | null;
  readonly expectedStreamVersion: number | null;
  /** What it rests on was read at the expected version itself: while the stream is there, nothing of it can have moved. */
  readonly isPinned: boolean;
  /** Subject -> the version that was read, or null for "it must live". */
  readonly reads: ReadonlyMap<string, number | null>;
  readonly written: ReadonlySet<string>;
  readonly events: readonly DecidedEvent[];
  readonly claims: readonly { readonly subject: string; readonly claim: string }[];
  readonly references: readonly { readonly subject: string; readonly target: string }[];
  /** Bytes of JSON, for the batch's cap. */
  readonly size: number;
}

export interface DecidedEvent {
  readonly subject: string;
  readonly subjectVersion: number;
  readonly type: string;
  readonly schemaVersion: number;
  /** The state as the text that is stored and hashed. */
  readonly json: string | null;
  /** Whether it is the last event of its subject in this command: the one whose state stays. */
  readonly last: boolean;
  /** What the state that stays claims; empty for the others. */
  readonly claims: readonly string[];
}

/** What the append answers: the new version, or why there is none. */
export type AppendResult =
  | { readonly code: 'appended'; readonly version: number; readonly recordedAt: string }
  | { readonly code: 'committed' | 'replayed' | 'stream_moved'; readonly version: number }
  | { readonly code: 'subject_moved'; readonly subject: string; readonly version: number }
  | { readonly code: 'claim_taken'; readonly claim: string; readonly owner: string }
  | { readonly code: 'referenced'; readonly subject: string; readonly by: string }
  | { readonly code: 'reference_missing'; readonly subject: string }
  | { readonly code: 'key_reused' | 'again' };
