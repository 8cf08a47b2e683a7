import { type KeyObject, sign, verify } from 'node:crypto';

import { z } from 'zod';
import type { LogHead } from '#platform/eventstore/log-heads.js';
import { sha256Hex } from '#platform/kernel/digest.js';

import { type AnchorFault, anchorFileFault } from './verification.js';

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const anchorSchema = z.object({
  time: z.iso.datetime(),
  heads: z.array(z.object({ stream: z.string(), version: z.int().positive(), hash })),
  previous: hash.nullable(),
});

/** One line of an anchor file: the heads of the streams that moved since the line before. */
export interface Anchor {
  /** ISO 8601, UTC. */
  readonly time: string;
  readonly heads: readonly LogHead[];
  /** SHA-256 of the line before, without its line break; null on the first. */
  readonly previous: string | null;
}

/** The anchor as the line that is written, without a line break. What is signed is the same JSON without its last member, `signature`. */
export function signAnchor({ time, heads, previous }: Anchor, privateKey: KeyObject): string {
  const plain = heads.map(({ stream, version, hash: digest }) => ({ stream, version, hash: digest }));
  const signed = JSON.stringify({ time, heads: plain, previous });
  const signature = sign(null, Buffer.from(signed), privateKey).toString('base64');
  return `${signed.slice(0, -1)},"signature":"${signature}"}`;
}

/** What a line is found to be. `torn`: the rest of a write that did not end; harmless as long as the lines around it follow each other. */
export type CheckedLine =
  | { readonly line: number; readonly anchor: Anchor; readonly fault: AnchorFault | null }
  | { readonly line: number; readonly anchor: null; readonly fault: AnchorFault }
  | { readonly line: number; readonly anchor: null; readonly fault: null; readonly torn: true };

/** Checks the lines of an anchor file one after the other: signatures, and that each names the one before it. */
export class AnchorChain {
  /** Of the last line that is an anchor; undefined when that one cannot be known. */
  #previous: string | null | undefined = null;
  #line = 0;

  constructor(private readonly publicKey: KeyObject) {}

  /** How many lines were checked. */
  get lines(): number {
    return this.#line;
  }

  check(text: string): CheckedLine {
    this.#line += 1;
    const line = this.#line;
    const [, signed, signature] = /^(\{"time":.*),"signature":"([A-Za-z0-9+/]{86}==)"\}$/.exec(text) ?? [];
    if (signed === undefined || signature === undefined) return { line, anchor: null, fault: null, torn: true };
    const expected = this.#previous;
    if (!verify(null, Buffer.from(`${signed}}`), this.publicKey, Buffer.from(signature, 'base64'))) {
      this.#previous = undefined; // the next one names a line that we do not have
      const message = `Line ${line}: the signature is not that of the key: the line was changed, or signed with another key.`;
      return { line, anchor: null, fault: anchorFileFault('anchor_invalid', line, message) };
    }
    this.#previous = sha256Hex(text);
    const parsed = anchorSchema.safeParse(parseJson(`${signed}}`));
    if (!parsed.success)
      return { line, anchor: null, fault: anchorFileFault('anchor_invalid', line, `Line ${line} is signed, and is no anchor.`) };
    if (expected === undefined || parsed.data.previous === expected) return { line, anchor: parsed.data, fault: null };
    const message = `Line ${line} does not follow the line before it: lines were removed, changed or put in.`;
    return { line, anchor: parsed.data, fault: anchorFileFault('anchor_chain_broken', line, message) };
  }
}

/**
 * Checks an anchor file without a database: its lines in order, each with what is wrong with it. The heads of every anchor are then to be compared with
 * the log (also those of one that does not follow its predecessor: its signature is good).
 * @param publicKey The key's public half: `createPublicKey(pem)`.
 */
export function* checkAnchors(lines: Iterable<string>, publicKey: KeyObject): Generator<CheckedLine> {
  const chain = new AnchorChain(publicKey);
  for (const line of lines) yield chain.check(line);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // a signed line that is no JSON is judged by its shape
  }
}
