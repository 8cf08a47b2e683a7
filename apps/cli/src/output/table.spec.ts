import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from '@jest/globals';

import { changesText, countChanges, warningsText } from './changes.js';
import { coloursFor, paintState, wantsColours } from './colours.js';
import { renderedText } from './rendered.js';
import { facts, table } from './table.js';

const plain = coloursFor(false);

describe('a table', () => {
  const columns = [
    { title: 'NAME', text: (row: { name: string; count?: number | null }) => row.name },
    { title: 'COUNT', text: (row: { name: string; count?: number | null }) => row.count, align: 'right' as const },
    { title: 'END', text: () => 'end' },
  ];

  it('aligns by cells, not by characters', () => {
    expect(table([{ name: '表', count: 1 }, { name: 'long name', count: 1234 }, { name: '' }], columns)).toBe(
      ['NAME       COUNT  END', '表             1  end', 'long name   1234  end', '-              -  end', ''].join('\n'),
    );
  });

  it('lets no cell break its line, and colours what was measured plain', () => {
    const text = table([{ name: 'x\n\u001b[2Jy', count: 0 }], [{ ...columns[0]!, paint: coloursFor(true).bad }, ...columns.slice(1)]);
    expect(text.split('\n')).toHaveLength(3);
    expect(text).toContain('\u001b[31mx\\n\\u001b[2Jy\u001b[39m');
    expect(stripVTControlCharacters(text).split('\n')[1]).toBe('x\\n\\u001b[2Jy      0  end');
  });

  it('has only its titles when there is nothing', () => {
    expect(table([], columns)).toBe('NAME  COUNT  END\n');
  });

  it('leaves out facts without a value', () => {
    const entries = [
      ['version', 3],
      ['reason', null],
      ['by', 'a\u0007'],
      ['empty', ''],
    ] as const;
    expect(facts(entries)).toBe('version  3\nby       a\\u0007\n');
  });
});

describe('changes', () => {
  const changes = [
    { subject: 'mapping/new', before: null, after: { prefix: '/new/', headers: {}, path: null, service: 's' } },
    { subject: 'mapping/old', before: { prefix: '/old/' }, after: null },
    { subject: 'mapping/both', before: { a: 1, b: 2, c: 3 }, after: { a: 1, b: 5, d: [4] } },
  ];

  it('say what is new, ended and changed, member by member', () => {
    expect(changesText(changes, plain)).toBe(
      [
        '+ mapping/new',
        '    /prefix  "/new/"',
        '    /service  "s"',
        '- mapping/old',
        '    /prefix  "/old/"',
        '~ mapping/both',
        '    /b  2 → 5',
        '    /c  - 3',
        '    /d  + [4]',
        '',
      ].join('\n'),
    );
    expect(countChanges(changes)).toBe('3 changes: 1 new, 1 changed, 1 ended');
    expect(countChanges([])).toBe('no changes');
  });

  it('cut what is very long and let nothing through that commands a terminal', () => {
    const text = changesText([{ subject: 'm\u001b[0m', before: { a: '' }, after: { a: 'x'.repeat(5000) } }], plain);
    expect(text.length).toBeLessThan(400);
    expect(text).toContain('(5002 characters)');
    expect(warningsText([{ code: 'c', message: 'm\u001b[1m', pointer: '/p' }], plain)).toBe('! c: m\\u001b[1m (/p)\n');
    expect(text).not.toContain('\u001b');
  });

  it('show what differs in Envoy resource by resource', () => {
    const diff = [{ op: 'replace' as const, pointer: '/timeout', before: '5s', after: '6s' }];
    const rendered = {
      changes: [{ resource: 'route', name: '*/user\u001b', op: 'changed' as const, diff }],
      renderSha256: { before: null, after: 'ab'.repeat(32) },
    };
    expect(renderedText(rendered, plain)).toBe(
      '\nIn Envoy\'s configuration: 1 resource\nrender nothing → abababababab\n~ route */user\\u001b\n    /timeout  "5s" → "6s"\n',
    );
    expect(renderedText({ changes: [] }, plain)).toBe("\nIn Envoy's configuration: no difference\n");
  });
});

describe('colours', () => {
  it.each([
    [{ flag: true, noColor: false, forceColor: false }, true, true],
    [{ flag: true, noColor: false, forceColor: false }, false, false],
    [{ flag: true, noColor: false, forceColor: true }, false, true],
    [{ flag: true, noColor: true, forceColor: true }, true, false],
    [{ flag: false, noColor: false, forceColor: true }, true, false],
  ])('said %j on a terminal %s: %s', (said, isTerminal, wanted) => {
    expect(wantsColours(said, isTerminal)).toBe(wanted);
  });

  it('only add to the words', () => {
    const colours = coloursFor(true);
    for (const state of ['live', 'refused', 'pending', 'something else']) {
      expect(stripVTControlCharacters(paintState(colours, state))).toBe(state);
      expect(paintState(plain, state)).toBe(state);
    }
    expect(paintState(colours, 'live')).not.toBe('live');
  });
});
