import type { Connection } from './connection.js';
import { CommandFailure, exitStatusOfHttp } from './exit-status.js';
import { printable } from './output/printable.js';

/** RFC 9457 with our members, as far as anything is said of them here. All of it comes from the other side and may be missing. */
export interface Problem {
  readonly code?: string;
  readonly title?: string;
  readonly detail?: string;
  readonly errors?: readonly { readonly pointer?: string; readonly code?: string; readonly message?: string }[];
  readonly requestId?: string;
  readonly [member: string]: unknown;
}

/** A refusal of the API. */
export class ApiRefusal extends CommandFailure {
  constructor(
    message: string,
    readonly httpStatus: number,
    readonly problem: Problem,
    nextStep: string | undefined,
  ) {
    super(message, exitStatusOfHttp(httpStatus), nextStep);
  }
}

/** What a refusal says to whoever gave the command: its detail, every fault of a field with its pointer, what stands in the way, and the next step. */
export function refusalOf(httpStatus: number, problem: Problem, connection: Connection): ApiRefusal {
  const said = problem.detail ?? problem.title ?? `HTTP ${httpStatus}`;
  const code = problem.code === undefined ? '' : ` (${problem.code})`;
  const lines = [`${printable(said)}${printable(code)}`, ...fieldLines(problem), ...conflictLines(problem)];
  return new ApiRefusal(lines.join('\n'), httpStatus, problem, nextStepOf(httpStatus, problem, connection));
}

function fieldLines({ errors, detail }: Problem): string[] {
  if (!Array.isArray(errors)) return [];
  return errors
    .filter(({ message, pointer }) => message !== detail || Boolean(pointer))
    .map(
      ({ pointer, code, message }) =>
        `  ${printable(`${pointer || '(the whole)'}: ${message ?? ''}${code === undefined ? '' : ` (${code})`}`)}`,
    );
}

/** `revert_conflict` names for each subject the later version that stands in the way. */
function conflictLines({ conflicts }: Problem): string[] {
  if (!Array.isArray(conflicts)) return [];
  return (conflicts as readonly Record<string, unknown>[]).map(({ subject, pointer, laterVersion, message }) =>
    printable(`  ${subject}${pointer ?? ''}${laterVersion === undefined ? '' : `, changed by version ${laterVersion}`}: ${message ?? ''}`),
  );
}

const nextStepOfCode: Readonly<Record<string, string>> = {
  outcome_unknown:
    'It was sent twice and the outcome is still not known. chancery history tells whether it was recorded, before you give the command again.',
  state_quarantined: 'chancery quarantine list says why. With --override-quarantine and a reason it is brought back all the same.',
  gateway_not_found: 'chancery status -o json lists the gateways; --gateway names one.',
  cursor_gone: 'The audit trail was rebuilt: start again without --after.',
  confirmation_expired: 'The version was undone when its time was over; chancery history shows the version that did it.',
  revert_conflict: 'Later versions changed the same: revert those first, or set what you want with chancery mapping or chancery apply.',
  attempts_exceeded: 'Wait a moment, and check the token.',
};

function nextStepOf(httpStatus: number, problem: Problem, connection: Connection): string | undefined {
  if (httpStatus === 401) return tokenAdvice(connection);
  if (httpStatus === 403) return scopeAdvice(problem, connection);
  const known = problem.code === undefined ? undefined : nextStepOfCode[problem.code];
  if (known !== undefined) return known;
  if (httpStatus === 412)
    return 'It has changed since you looked: look again (chancery history, chancery diff), and decide on what it is now.';
  if (httpStatus === 503) return 'Give the command again in a moment.';
  if (httpStatus >= 500)
    return `Report it with the request id${problem.requestId === undefined ? '' : ` ${printable(problem.requestId)}`}.`;
  return undefined;
}

function tokenAdvice({ token, url }: Connection): string {
  const how = 'chancery login keeps one; --token-file, CHANCERY_TOKEN and CHANCERY_TOKEN_FILE name one.';
  if (token === undefined) return `No token was found for ${url}. ${how}`;
  return `The token came from ${token.source}. ${how}`;
}

function scopeAdvice(problem: Problem, { token }: Connection): string {
  const scopes = Array.isArray(problem.missingScopes) ? problem.missingScopes.map(String) : [];
  const wanted = scopes.length === 0 ? 'more scopes' : `the scope ${scopes.map(printable).join(' and ')}`;
  return `The token came from ${token?.source ?? 'nowhere'}. Ask for one with ${wanted} (chancery token create --scopes ...).`;
}
