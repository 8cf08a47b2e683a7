import { Inject, Injectable } from '@nestjs/common';
import { type Command, CommandBus } from '@nestjs/cqrs';

import type { Db } from '#platform/database/database.js';
import type { CommandRequest } from '#platform/eventstore/command-request.js';
import type { Outcome, Precondition } from '#platform/eventstore/event-store.js';
import { readSubject } from '#platform/eventstore/read-log.js';
import { DomainError } from '#platform/kernel/errors.js';
import type { Log } from '#platform/log/log.js';

import { HttpMetrics } from './http-metrics.js';
import { refusalOf } from './problem.js';
import { DB, LOG } from './tokens.js';
import type { WriteRequest } from './write-request.js';

/** The edge between HTTP and the commands: preconditions, one log line and one metric per command. */
@Injectable()
export class CommandRunner {
  constructor(
    private readonly bus: CommandBus,
    private readonly metrics: HttpMetrics,
    @Inject(DB) private readonly db: Db,
    @Inject(LOG) private readonly log: Log,
  ) {}

  /** Runs a command whose result is its outcome. */
  run(command: Command<Outcome>, context: CommandRequest['context']): Promise<Outcome> {
    return this.execute(command, context, (outcome) => outcome);
  }

  /** Runs a command on the bus; `outcomeOf` finds the outcome in its result. Refusals come out as the DomainError that they are. */
  async execute<R>(command: Command<R>, context: CommandRequest['context'], outcomeOf: (result: R) => Outcome): Promise<R> {
    const type = command.constructor.name;
    const stop = this.metrics.commandSeconds.startTimer({ type });
    try {
      const result = await this.bus.execute<R>(command);
      this.accepted(type, outcomeOf(result), context);
      return result;
    } catch (error) {
      const { code } = refusalOf(error);
      this.metrics.commands.inc({ type, result: code });
      this.log.info(
        { command: type, commandId: context.commandId, requestId: context.requestId, actor: context.actor, result: code },
        'command refused',
      );
      throw error;
    } finally {
      stop();
    }
  }

  private accepted(type: string, outcome: Outcome, context: CommandRequest['context']): void {
    const result = outcome.dryRun ? 'dry_run' : outcome.replayed ? 'replayed' : outcome.unchanged ? 'unchanged' : 'accepted';
    this.metrics.commands.inc({ type, result });
    if (result === 'accepted') this.count(outcome.events);
    this.log.info(
      {
        command: type,
        commandId: outcome.commandId,
        requestId: context.requestId,
        actor: context.actor,
        subjects: outcome.events.slice(0, 10).map((event) => event.subject),
        version: outcome.version,
        result,
      },
      'command',
    );
  }

  private count(events: Outcome['events']): void {
    const counts = new Map<string, number>();
    for (const { type } of events) counts.set(type, (counts.get(type) ?? 0) + 1);
    for (const [type, count] of counts) this.metrics.events.inc({ type }, count);
  }

  /**
   * The write's conditions, said of one subject. A list of tags is settled here against the current version; the append then
   * checks that one version again, under its lock.
   * @throws DomainError stale `version_mismatch` when no tag fits.
   */
  async requestFor(write: WriteRequest, stream: string, subject: string): Promise<CommandRequest> {
    if (write.ifMatch?.any === false && write.ifMatch.streamVersion !== undefined) return this.requestForStream(write);
    const condition = await this.conditionFor(write, stream, subject);
    const precondition: Precondition | undefined = condition === undefined ? undefined : { subjects: { [subject]: condition } };
    return { ...said(write), ...(precondition === undefined ? {} : { precondition }) };
  }

  /**
   * The write's conditions, said of a stream as a whole: If-Match is `*` or the version that it was read at, `"g12"` or `"12"`.
   * @throws DomainError precondition_required `if_match_required` when `required` and it is not given; malformed `if_match_malformed`.
   */
  requestForStream(write: WriteRequest, { required = false }: { readonly required?: boolean } = {}): CommandRequest {
    const request = said(write);
    const { ifMatch } = write;
    if (ifMatch === undefined && required && !write.dryRun) {
      const message =
        'Say what this is based on: If-Match with the ETag that you read or planned with ("g12"), or * for whatever is there.';
      throw new DomainError('precondition_required', 'if_match_required', message);
    }
    if (ifMatch === undefined || ifMatch.any) return request;
    const streamVersion = ifMatch.streamVersion ?? ifMatch.versions[0];
    if (streamVersion === undefined) {
      throw new DomainError('malformed', 'if_match_malformed', 'If-Match must be * or the version of the gateway, for instance "g12".');
    }
    return { ...request, precondition: { streamVersion } };
  }

  private async conditionFor(write: WriteRequest, stream: string, subject: string): Promise<number | 'absent' | 'present' | undefined> {
    if (write.createOnly) return 'absent';
    if (write.ifMatch === undefined) return undefined;
    if (write.ifMatch.any) return 'present';
    const { versions } = write.ifMatch;
    const [only] = versions;
    if (versions.length === 1 && only !== undefined) return only;
    const current = await readSubject(this.db, stream, subject);
    if (current.state !== null && versions.includes(current.version)) return current.version;
    const message = 'The thing is not at any version that If-Match names. Read it again, and decide again.';
    throw new DomainError('stale', 'version_mismatch', message, { extra: { subject, currentVersion: current.version } });
  }
}

/** What a write says of itself, whatever it is about. */
function said({ context, dryRun, overrideRouteTests }: WriteRequest): CommandRequest {
  return { context, dryRun, overrideRouteTests };
}
