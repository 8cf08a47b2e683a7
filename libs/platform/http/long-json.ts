import { Turn } from '#platform/kernel/turns.js';

/** From so many items on a list is written in pieces: fewer are a matter of a millisecond. */
const LONG = 500;
const PIECE = 50;
/** Bytes, about, that are written at once. */
const CHUNK = 64 * 1024;

/** Has the answer a list that would hold up the others while it is written? */
export function isLongAnswer(answer: unknown): answer is object {
  return typeof answer === 'object' && answer !== null && Object.values(answer).some(isLong);
}

function isLong(value: unknown): value is readonly unknown[] {
  return Array.isArray(value) && value.length >= LONG;
}

/**
 * What `JSON.stringify` makes of a plain object, as bytes: its long lists are written piece by piece, and others have their turn in between. (A text of fifty
 * megabytes would be a stall when it is joined, and another when a socket turns it into bytes.)
 */
export async function writeLongJson(answer: object): Promise<Buffer> {
  const turn = new Turn();
  const pieces: Buffer[] = [];
  let text = '';
  const write = async (more: string) => {
    text += more;
    if (text.length < CHUNK) return;
    pieces.push(Buffer.from(text));
    text = '';
    if (turn.isOver) await turn.next();
  };
  for (const [key, value] of Object.entries(answer)) {
    const whole = isLong(value) ? '' : JSON.stringify(value);
    if (whole === undefined) continue;
    await write(`${text === '' && pieces.length === 0 ? '{' : ','}${JSON.stringify(key)}:${whole}`);
    if (isLong(value)) {
      for (let from = 0; from < value.length; from += PIECE)
        await write(`${from === 0 ? '[' : ','}${JSON.stringify(value.slice(from, from + PIECE)).slice(1, -1)}`);
      await write(']');
    }
  }
  pieces.push(Buffer.from(`${text}}`));
  await turn.next();
  return Buffer.concat(pieces);
}
