/** The codes of gRPC that are answered here. */
export const Status = {
  OK: 0,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const;
export type StatusCode = (typeof Status)[keyof typeof Status];

/** A fault of the client's that ends its call with this status. */
export class CallFault extends Error {
  constructor(
    readonly code: StatusCode,
    message: string,
  ) {
    super(message);
    this.name = 'CallFault';
  }
}

/** Headers of a client are limited too: a longer message would cost it the whole status. */
const MESSAGE_BYTES = 4_096;

/** As `grpc-message` carries it: printable ASCII but for `%` as it is, all else as the bytes of its UTF-8. */
export function encodeMessage(message: string): string {
  let encoded = '';
  for (const byte of Buffer.from(message).subarray(0, MESSAGE_BYTES)) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += isPlain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return encoded;
}
