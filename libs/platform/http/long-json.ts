import { Turn } from '#platform/kernel/turns.js';

/** From so many items on a list is written in pieces: fewer are a matter of a millisecond. */
const LONG = 500;
const PIECE = 50;

/** Has the answer a list that would hold up the others while it is written? */
export function isLongAnswer(answer: unknown): answer is object {
  return typeof answer === 'object' && answer !== null && Object.values(answer).some(isLong);
}

function isLong(value: unknown): value is readonly unknown[] {
  return Array.isArray(value) && value.length >= LONG;
}

/** What `JSON.stringify` makes of a plain object; its long lists are written piece by piece, and others have their turn in between. */
export async function writeLongJson(answer: object): Promise<string> {
  const turn = new Turn();
  const members: string[] = [];
  for (const [key, value] of Object.entries(answer)) {
    const text = isLong(value) ? await writeList(value, turn) : JSON.stringify(value);
    if (text !== undefined) members.push(`${JSON.stringify(key)}:${text}`);
  }
  return `{${members.join(',')}}`;
}

async function writeList(items: readonly unknown[], turn: Turn): Promise<string> {
  const pieces: string[] = [];
  for (let from = 0; from < items.length; from += PIECE) {
    pieces.push(JSON.stringify(items.slice(from, from + PIECE)).slice(1, -1));
    if (turn.isOver) await turn.next();
  }
  return `[${pieces.join(',')}]`;
}
