import { lookup } from 'node:dns/promises';
import { hostname, networkInterfaces } from 'node:os';

import type { FastifyRequest } from 'fastify';

import type { RefusalShape } from '#platform/http/exception.filter.js';
import type { Refusal } from '#platform/http/problem.js';

/** What every answer of the first Ambassador says of the one who answers. */
export class Envelope {
  private constructor(private readonly self: { readonly hostname: string; readonly resolvedname: string; readonly version: string }) {}

  /** Looks this machine's name and address up, once. A name that nobody resolves is not worth failing for: the address is then an interface's. */
  static async forThisMachine(version: string): Promise<Envelope> {
    const name = hostname();
    const resolvedname = await lookup(name).then(
      (found) => found.address,
      () => ownAddress(),
    );
    return new Envelope({ hostname: name, resolvedname, version });
  }

  ok(members: Readonly<Record<string, unknown>>): Record<string, unknown> {
    return { ok: true, ...this.self, ...members };
  }

  failed(members: Readonly<Record<string, unknown>>): Record<string, unknown> {
    return { ok: false, ...this.self, ...members };
  }
}

function ownAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((found) => found ?? []);
  return addresses.find((one) => !one.internal && one.family === 'IPv4')?.address ?? '127.0.0.1';
}

/**
 * Refusals under /ambassador: the original's envelope, with a status that tells the truth. The original answered 200 to everything;
 * `status200` brings that back for clients that cannot bear anything else, except where a token is what is wrong (it had none).
 */
export function ambassadorRefusals(envelope: Envelope, options: { readonly status200: boolean }): RefusalShape {
  return {
    prefix: '/ambassador/',
    shape(refused: Refusal, request: FastifyRequest) {
      const { status, code, detail, errors, extra } = refused;
      const truthful = !options.status200 || status === 401 || status === 403 || status === 429;
      const members = { ...extra, error: detail, code, ...(errors.length > 0 ? { errors } : {}), requestId: request.id };
      return { status: truthful ? status : 200, body: envelope.failed(members) };
    },
  };
}
