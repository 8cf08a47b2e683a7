import { Writable } from 'node:stream';

import { describe, expect, it } from '@jest/globals';

import { createLog } from './log.js';

function logged(write: (log: ReturnType<typeof createLog>) => void): string {
  let text = '';
  const destination = new Writable({
    write(chunk, _encoding, done) {
      text += chunk;
      done();
    },
  });
  write(createLog({ process: 'test', level: 'info', destination }));
  return text;
}

describe('the log', () => {
  it('is one JSON object per line, whatever a value holds', () => {
    const text = logged((log) => log.info({ path: '/x\r\n{"level":60}\u001b[2J' }, 'request'));
    expect(text.split('\n')).toHaveLength(2);
    expect(JSON.parse(text)).toMatchObject({ process: 'test', path: '/x\r\n{"level":60}\u001b[2J', msg: 'request' });
    expect(text).not.toContain('\u001b');
  });

  it('hides what is secret by its name', () => {
    const text = logged((log) =>
      log.info(
        {
          token: 'canary-1',
          headers: { authorization: 'canary-2', cookie: 'canary-3' },
          request: { headers: { authorization: 'canary-4' }, secret: 'canary-5' },
        },
        'x',
      ),
    );
    expect(text).not.toContain('canary');
    expect(text).toContain('[redacted]');
  });

  it('tells an error with its cause', () => {
    const text = logged((log) => log.error({ err: new Error('outer', { cause: new Error('inner') }) }, 'x'));
    expect(JSON.parse(text).err.message).toBe('outer: inner');
  });
});
