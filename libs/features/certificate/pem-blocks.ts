import { DomainError } from '#platform/kernel/errors.js';

/** One `-----BEGIN x-----` block. */
export interface PemBlock {
  readonly label: string;
  /** `Proc-Type: 4,ENCRYPTED` and the like, of keys as OpenSSL wrote them long ago. */
  readonly headers: readonly string[];
  readonly der: Buffer;
}

/** What stands wrong in a field, with what to do about it. */
export function invalid(pointer: string, code: string, message: string): DomainError {
  return new DomainError('invalid', code, message, { errors: [{ pointer, code, message }] });
}

/**
 * The blocks of a PEM text, with nothing beside them but white space: what an editor or a terminal added by mistake is more likely a part of something that
 * is missing than of no importance. CRLF, a byte order mark and indentation are taken.
 * @throws DomainError invalid: `pem_empty`, `pem_too_large`, `pem_is_der`, `pem_nul`, `pem_escaped`, `pem_missing`, `pem_garbage`, `pem_unterminated`, `pem_base64_invalid`.
 */
export function readPem(text: string, pointer: string, what: string, mostBytes: number): PemBlock[] {
  const refuse = (code: string, message: string) => invalid(pointer, code, message);
  const given = text.startsWith('\ufeff') ? text.slice(1) : text;
  if (given.trim() === '') throw refuse('pem_empty', `This is empty; send ${what} in PEM form.`);
  if (Buffer.byteLength(given) > mostBytes)
    throw refuse('pem_too_large', `This is larger than the ${mostBytes} bytes that ${what} may be; send only what is needed.`);
  if (isDer(given))
    throw refuse('pem_is_der', `This is DER, not PEM; convert it: openssl x509 (or pkey) -inform DER -in FILE -outform PEM.`);
  if (given.includes('\0')) throw refuse('pem_nul', 'There is a NUL character in it; the file is no text, or was damaged on its way.');
  if (/-----BEGIN [A-Z0-9 ]+-----\\[nr]/.test(given))
    throw refuse('pem_escaped', 'Its line breaks were escaped twice and arrive as the characters \\n; send them as line breaks.');
  if (!given.includes('-----BEGIN ')) throw refuse('pem_missing', `This is not PEM; ${what} begins with a line "-----BEGIN ...-----".`);
  return readBlocks(given, refuse);
}

function isDer(text: string): boolean {
  if (/^0[\u0080-\u0084\ufffd]/.test(text)) return true;
  return text.startsWith('MI') && /^[A-Za-z0-9+/=\s]+$/.test(text);
}

function readBlocks(text: string, refuse: (code: string, message: string) => DomainError): PemBlock[] {
  const blocks: PemBlock[] = [];
  let open: { readonly label: string; readonly headers: string[]; readonly base64: string[] } | undefined;
  for (const [i, raw] of text.split(/\r\n|\n|\r/).entries()) {
    const line = raw.trim();
    const [, edge, label] = /^-----(BEGIN|END) ([A-Z0-9 ]+)-----$/.exec(line) ?? [];
    const at = `line ${i + 1}`;
    if (open === undefined) {
      if (line === '') continue;
      if (edge !== 'BEGIN' || label === undefined)
        throw refuse(
          'pem_garbage',
          `There is something beside the PEM blocks (${at}); keep only what stands from BEGIN to END, with its line breaks.`,
        );
      open = { label, headers: [], base64: [] };
    } else if (edge === 'END' && label === open.label) {
      blocks.push(finish(open, at, refuse));
      open = undefined;
    } else if (line.includes('-----')) {
      throw refuse('pem_unterminated', `The block ${open.label} has no end of its own (${at}); the text was cut or joined wrongly.`);
    } else if (line.includes(':')) open.headers.push(line);
    else open.base64.push(line);
  }
  if (open !== undefined) throw refuse('pem_unterminated', `The block ${open.label} has no end; the text was cut.`);
  return blocks;
}

function finish(
  open: { readonly label: string; readonly headers: readonly string[]; readonly base64: readonly string[] },
  at: string,
  refuse: (code: string, message: string) => DomainError,
): PemBlock {
  const base64 = open.base64.join('').replaceAll(/\s/g, '');
  if (base64 === '' || base64.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64))
    throw refuse('pem_base64_invalid', `What the block ${open.label} holds (it ends at ${at}) is no base64; the text was damaged or cut.`);
  return { label: open.label, headers: open.headers, der: Buffer.from(base64, 'base64') };
}

/** DER as PEM, in lines of 64. */
export function toPem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

/** How many bytes the outermost DER element says that it has; what comes behind them belongs to nothing. */
export function derLength(der: Buffer): number {
  const first = der[1] ?? 0;
  if (first < 0x80) return 2 + first;
  const count = first & 0x7f;
  if (count === 0 || count > 4 || der.length < 2 + count) return -1;
  return 2 + count + der.readUIntBE(2, count);
}
