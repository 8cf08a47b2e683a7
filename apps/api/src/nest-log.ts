import type { LoggerService } from '@nestjs/common';

import type { Log } from '#platform/log/log.js';

/** Nest's own messages in our log: what it says while starting is detail, what it warns of is not. */
export class NestLog implements LoggerService {
  constructor(private readonly target: Log) {}

  log(message: unknown): void {
    this.target.debug({ nest: String(message) }, 'nest');
  }

  warn(message: unknown): void {
    this.target.warn({ nest: String(message) }, 'nest');
  }

  error(message: unknown, stack?: unknown): void {
    this.target.error({ nest: String(message), stack: typeof stack === 'string' ? stack : undefined }, 'nest');
  }

  fatal(message: unknown): void {
    this.target.fatal({ nest: String(message) }, 'nest');
  }
}
