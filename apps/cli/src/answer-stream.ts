/** Nothing for this long, not even a sign of life, and the other side counts as gone. Milliseconds. */
const SILENCE_MS = 60_000;

/** The text of an answer as it comes. @throws Error when it breaks off, or when nothing comes for a minute. */
export async function* textOf(response: Response, connection: AbortController, silenceMs = SILENCE_MS): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  const abort = () => connection.abort(new Error('nothing came for too long'));
  let timer = setTimeout(abort, silenceMs);
  try {
    for await (const chunk of response.body ?? []) {
      clearTimeout(timer);
      yield decoder.decode(chunk, { stream: true });
      timer = setTimeout(abort, silenceMs);
    }
  } finally {
    clearTimeout(timer);
  }
}

/** Whole lines of a text that comes in pieces, each without its end; what follows the last line break is left out, because it was cut off. */
export async function* linesOf(pieces: AsyncIterable<string>): AsyncGenerator<string> {
  let rest = '';
  for await (const piece of pieces) {
    const lines = (rest + piece).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) yield line.endsWith('\r') ? line.slice(0, -1) : line;
  }
}

/** One server-sent event that carried data. */
export interface SentEvent {
  readonly id: string;
  readonly data: string;
}

/** The events of a stream (HTML Living Standard, 9.2.6), as far as we send them: `id`, `data`, comments. */
export async function* eventsOf(lines: AsyncIterable<string>): AsyncGenerator<SentEvent> {
  let id = '';
  let data: string[] = [];
  for await (const line of lines) {
    if (line === '') {
      if (data.length > 0) yield { id, data: data.join('\n') };
      data = [];
      continue;
    }
    const [, field, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (field === 'id') id = value;
    else if (field === 'data') data.push(value);
  }
}

/** Writes to a stream no faster than it takes it. */
export async function writeTo(stream: NodeJS.WritableStream, text: string): Promise<void> {
  if (!stream.write(text)) await new Promise<void>((resolve) => stream.once('drain', () => resolve()));
}
