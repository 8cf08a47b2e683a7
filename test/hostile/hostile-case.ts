/** What an API must answer to a hostile request. `null`: this API cannot be asked so. */
export interface Expectation {
  readonly status: number;
  readonly code: string;
  /** The pointer of the first error. */
  readonly pointer: string;
}

export type HostileClass =
  | 'bodies'
  | 'names'
  | 'hosts'
  | 'prefixes'
  | 'paths'
  | 'services'
  | 'rewrites'
  | 'headers'
  | 'methods'
  | 'numbers'
  | 'labels';

/** One hostile request, for `POST /v1/gateways/default/mappings` and for `POST /ambassador/mapping/{name}`. */
export interface HostileCase {
  readonly class: HostileClass;
  /** Unique in its class. */
  readonly title: string;
  /** Percent-encode it for the URL of /ambassador; the v1 body carries it in `name`. */
  readonly name: string;
  /** The JSON value to send; for /ambassador without its `name`. */
  readonly body?: Readonly<Record<string, unknown>>;
  /** Instead of `body`: these very bytes, to both APIs. */
  readonly raw?: string | Uint8Array;
  /** Only the HTTP layer can see what is wrong (an encoding, a content type). */
  readonly httpOnly?: boolean;
  /** Default: application/json. */
  readonly contentType?: string;
  readonly v1: Expectation | null;
  readonly ambassador: Expectation | null;
}

/** 400: not of the right shape. */
export const malformed = (code: string, pointer: string): Expectation => ({ status: 400, code, pointer });

/** 422: of the right shape, and makes no sense. */
export const invalid = (code: string, pointer: string): Expectation => ({ status: 422, code, pointer });

const sound = { name: 'hostile', prefix: '/hostile/', service: 'usersvc' };

/** A title, the field's hostile value, the code, and the pointer and status where they are not the field's own and 422. */
export type FieldCase = readonly [title: string, value: unknown, code: string, pointer?: string | undefined, status?: number];

/** A sound mapping with one field that is not: the original's three fields exist in both APIs, the others only in v1. */
export function withField(of: HostileClass, field: string, cases: readonly FieldCase[]): HostileCase[] {
  return cases.map(([title, value, code, pointer = `/${field}`, status = 422]) => {
    const v1 = { status, code, pointer };
    const inBoth = ['prefix', 'service', 'rewrite'].includes(field) || code === 'forbidden_key';
    const body = { ...sound, ...(field === 'path' ? { prefix: undefined } : {}), [field]: value };
    return { class: of, title, name: sound.name, body, v1, ambassador: inBoth ? v1 : unknownToOriginal(field) };
  });
}

function unknownToOriginal(field: string): Expectation {
  return field === 'path' ? malformed('missing_field', '/prefix') : malformed('unknown_field', `/${field}`);
}

/** A hostile name as a URL can carry it; a lone surrogate has no encoding, so its bytes are sent as they would be in a broken client. */
export function hostileName(name: string): string {
  return [...Buffer.from(name, 'utf8')].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
}
