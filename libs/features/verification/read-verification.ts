import { type IQueryHandler, Query, QueryHandler } from '@nestjs/cqrs';

import { LogVerifier, type Verification, type VerificationMode } from './log-verifier.js';

/** Whether the log is as it was written. `gone`: aborted when the caller no longer waits. */
export class ReadVerification extends Query<Verification> {
  constructor(
    readonly mode: VerificationMode,
    readonly gone: AbortSignal,
  ) {
    super();
  }
}

@QueryHandler(ReadVerification)
export class ReadVerificationHandler implements IQueryHandler<ReadVerification> {
  constructor(private readonly verifier: LogVerifier) {}

  execute({ mode, gone }: ReadVerification): Promise<Verification> {
    return this.verifier.verify(mode, gone);
  }
}
