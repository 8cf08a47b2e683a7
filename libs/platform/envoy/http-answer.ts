/** An HTTP/1.1 answer read from a raw socket. */
export interface HttpAnswer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
  /** Bytes of the whole answer: where the next one on the connection begins. */
  readonly length: number;
}

/** The bytes are not HTTP/1.1. */
export class NotHttpError extends Error {
  override readonly name = 'NotHttpError';
}

/**
 * The first answer in these bytes, or null while it is not whole. `closed` says that no more will come, which ends a body that has
 * neither a length nor chunks. For probes and load clients, whose connections must be their own so that nothing retries behind them.
 * @throws NotHttpError
 */
export function readAnswer(bytes: Buffer, { closed = false }: { closed?: boolean } = {}): HttpAnswer | null {
  const headEnd = bytes.indexOf('\r\n\r\n');
  if (headEnd < 0) {
    if (bytes.length >= 5 && !bytes.subarray(0, 5).equals(Buffer.from('HTTP/')))
      throw new NotHttpError(bytes.subarray(0, 80).toString('latin1'));
    return null;
  }
  const [statusLine = '', ...lines] = bytes.subarray(0, headEnd).toString('latin1').split('\r\n');
  const status = Number(/^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(statusLine)?.[1]);
  if (Number.isNaN(status)) throw new NotHttpError(statusLine.slice(0, 80));
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon > 0) headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  const bodyAt = headEnd + 4;
  const whole = (body: Buffer, length: number): HttpAnswer => ({ status, headers, body, length });
  if (status === 204 || status === 304) return whole(Buffer.alloc(0), bodyAt);
  if (headers.get('transfer-encoding') === 'chunked') {
    const chunks = readChunks(bytes, bodyAt);
    return chunks === null ? null : whole(chunks.body, chunks.end);
  }
  const contentLength = headers.get('content-length');
  if (contentLength !== undefined) {
    const end = bodyAt + Number(contentLength);
    return bytes.length < end ? null : whole(bytes.subarray(bodyAt, end), end);
  }
  return closed ? whole(bytes.subarray(bodyAt), bytes.length) : null;
}

function readChunks(bytes: Buffer, start: number): { body: Buffer; end: number } | null {
  const parts: Buffer[] = [];
  for (let at = start; ; ) {
    const lineEnd = bytes.indexOf('\r\n', at);
    if (lineEnd < 0) return null;
    const size = Number.parseInt(bytes.subarray(at, lineEnd).toString('latin1'), 16);
    if (Number.isNaN(size)) throw new NotHttpError('a chunk without a size');
    const dataAt = lineEnd + 2;
    if (bytes.length < dataAt + size + 2) return null;
    if (size === 0) return { body: Buffer.concat(parts), end: dataAt + 2 };
    parts.push(bytes.subarray(dataAt, dataAt + size));
    at = dataAt + size + 2;
  }
}
