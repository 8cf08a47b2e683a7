/** What is told of a run: for people as text, or for programs as one JSON object per line. */
export interface Reporter {
  /** A step of the start: it begins (`ms` undefined), goes on, or is done in `ms`. */
  progress(step: string, detail: string, ms?: number): void;
  /** Something that people should know, and that stops nothing. */
  note(message: string): void;
  /** The one event that says all is ready; `text` is the same for people. */
  ready(fields: Readonly<Record<string, unknown>>, text: string): void;
  died(process: string, death: { pid: number; how: string; retryInMs: number; log: string }): void;
  restarted(process: string, pid: number): void;
  envoy(pid: number, epoch: number): void;
  stopping(message: string): void;
  /** One process has ended as it was asked to. */
  ended(process: string, ms: number): void;
  stopped(): void;
  failed(failure: { code: string; message: string; nextStep: string }): void;
}

/** One JSON object per line on stdout, and nothing else there. */
export function jsonReporter(write: (line: string) => void): Reporter {
  const print = (event: string, fields: object) => write(`${JSON.stringify({ event, ...fields })}\n`);
  return {
    progress: (step, detail, ms) => print('progress', { step, detail, ...(ms === undefined ? {} : { done: true, ms: Math.round(ms) }) }),
    note: (message) => print('note', { message }),
    ready: (fields) => print('ready', fields),
    died: (process, { pid, how, retryInMs, log }) => print('died', { process, pid, how, retryInMs, log }),
    restarted: (process, pid) => print('restarted', { process, pid }),
    envoy: (pid, epoch) => print('envoy', { pid, epoch }),
    stopping: (message) => print('stopping', { message }),
    ended: (process, ms) => print('ended', { process, ms: Math.round(ms) }),
    stopped: () => print('stopped', {}),
    failed: ({ code, message, nextStep }) => print('failed', { code, message, nextStep }),
  };
}

/** Lines for people. Marks are coloured only where the terminal is one and nobody objects. */
export function textReporter(write: (line: string) => void, colour: boolean): Reporter {
  const paint = (code: number, text: string) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const tick = paint(32, '✓');
  const cross = paint(31, '✗');
  const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
  return {
    progress: (step, detail, ms) =>
      write(ms === undefined ? `  … ${step.padEnd(11)} ${detail}\n` : `  ${tick} ${step.padEnd(11)} ${detail}  (${seconds(ms)})\n`),
    note: (message) => write(`  ${paint(33, '!')} ${message}\n`),
    ready: (_fields, text) => write(`\n${text}\n`),
    died: (process, { pid, how, retryInMs, log }) =>
      write(`  ${cross} ${process} (pid ${pid}) died: ${how}; it is started again in ${retryInMs} ms · log: ${log}\n`),
    restarted: (process, pid) => write(`  ${tick} ${process} runs again (pid ${pid})\n`),
    envoy: () => undefined, // a hot restart is everyday work: `deployments` tells of it
    stopping: (message) => write(`\n  ${message}\n`),
    ended: (process, ms) => write(`  – ${process} has ended (${seconds(ms)})\n`),
    stopped: () => write(`  ${tick} everything has ended; the data is kept\n`),
    failed: ({ message, nextStep }) => write(`\n  ${cross} ${message}\n    Next: ${nextStep}\n`),
  };
}
