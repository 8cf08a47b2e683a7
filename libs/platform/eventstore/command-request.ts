import type { CommandContext, Precondition } from './event-store.js';

/**
 * What the edge knows about a request and every command needs: who asks, under which id, on which condition.
 * The command itself adds only the name of its action.
 */
export interface CommandRequest {
  readonly context: Omit<CommandContext, 'action'>;
  readonly precondition?: Precondition;
  /** Decide and answer, but write nothing. */
  readonly dryRun: boolean;
  /** Carry it out although route tests fail by it; needs a reason. */
  readonly overrideRouteTests?: boolean;
}
