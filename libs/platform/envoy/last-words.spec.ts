import { describe, expect, it } from '@jest/globals';
import { configFile, keyOfConfigFile, lastWords } from './epoch-start.js';

describe("Envoy's last words", () => {
  it('are its critical and error lines without their times', () => {
    const log = [
      '[2026-11-24 03:30:00.000][10][warning][main] [source/a.cc:1] something else',
      "[2026-11-24 03:30:00.001][10][critical][main] [source/server/server.cc:414] error initializing config 'x': route: unknown cluster 'nowhere'",
      '[2026-11-24 03:30:00.002][10][warning][main] [source/b.cc:1] bye',
    ].join('\n');
    expect(lastWords(log)).toBe("[source/server/server.cc:414] error initializing config 'x': route: unknown cluster 'nowhere'");
  });

  it('are the last lines when none of them is one', () => {
    expect(lastWords('a\nb\nc\nd\ne\nf\n')).toBe('b\nc\nd\ne\nf');
    expect(lastWords('')).toBe('');
  });

  it('are never longer than a report takes', () => {
    expect(lastWords('x'.repeat(5000))).toHaveLength(1996);
  });
});

it('a configuration file names its release', () => {
  expect(keyOfConfigFile(configFile('000001-0000000001-0000000002'))).toBe('000001-0000000001-0000000002');
});
