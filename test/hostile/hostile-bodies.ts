import { type Expectation, type HostileCase, malformed } from './hostile-case.js';

const sound = '"name":"hostile","prefix":"/hostile/","service":"usersvc"';
const soundOriginal = '"prefix":"/hostile/","service":"usersvc"';

/** The same bytes to both APIs, and the same answer. */
function raw(title: string, bytes: string | Uint8Array, expected: Expectation, more: Partial<HostileCase> = {}): HostileCase {
  return { class: 'bodies', title, name: 'hostile', raw: bytes, v1: expected, ambassador: expected, ...more };
}

/** A body of its own for each API, because a sound one for v1 has a name. */
function each(title: string, make: (fields: string) => string, code: string, pointer: string): HostileCase[] {
  const expected = malformed(code, pointer);
  return [
    { class: 'bodies', title: `${title} (v1)`, name: 'hostile', raw: make(sound), v1: expected, ambassador: null },
    { class: 'bodies', title: `${title} (ambassador)`, name: 'hostile', raw: make(soundOriginal), v1: null, ambassador: expected },
  ];
}

const deep = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;

/** Whole bodies, as bytes: most are the HTTP layer's to refuse. */
export const bodies: HostileCase[] = [
  raw('empty', '', malformed('body_missing', ''), { httpOnly: true }),
  raw('white space', ' \n ', malformed('json_invalid', '')),
  raw('no JSON', 'prefix=/hostile/&service=usersvc', malformed('json_invalid', '')),
  raw('YAML', 'prefix: /hostile/\nservice: usersvc\n', malformed('json_invalid', '')),
  raw('cut off', '{"prefix":"/hostile/","service":', malformed('json_invalid', '/service')),
  raw('two values', '{} {}', malformed('json_invalid', '')),
  raw('a trailing comma', '{"prefix":"/a/",}', malformed('json_invalid', '')),
  raw('a comment', '{/* x */}', malformed('json_invalid', '')),
  raw('single quotes', "{'prefix':'/a/'}", malformed('json_invalid', '')),
  raw('NaN', '{"prefix":NaN}', malformed('json_invalid', '/prefix')),
  raw('a raw line break in a string', '{"prefix":"/a\n/"}', malformed('json_invalid', '/prefix')),
  raw('a bad escape', '{"prefix":"\\x41"}', malformed('json_invalid', '/prefix')),
  raw('a byte order mark', '\ufeff\ufeff{}', malformed('json_invalid', '')),
  raw('an array', '[]', malformed('body_not_object', '')),
  raw('an array of mappings', `[{${soundOriginal}}]`, malformed('body_not_object', '')),
  raw('a string', '"/hostile/"', malformed('body_not_object', '')),
  raw('a number', '42', malformed('body_not_object', '')),
  raw('null', 'null', malformed('body_not_object', '')),
  raw('true', 'true', malformed('body_not_object', '')),
  raw('100,000 levels deep', deep(100_000), malformed('json_too_deep', '/0'.repeat(20))),
  raw('deep below a field', `{"prefix":${deep(30)}}`, malformed('json_too_deep', `/prefix${'/0'.repeat(19)}`)),
  raw('a number beyond a double', '{"prefix":1e999}', malformed('json_invalid', '/prefix')),
  ...each('a key twice', (fields) => `{${fields},"prefix":"/admin/"}`, 'json_duplicate_key', '/prefix'),
  ...each('__proto__', (fields) => `{${fields},"__proto__":{"admin":true}}`, 'forbidden_key', '/__proto__'),
  ...each('__proto__ in an escape', (fields) => `{${fields},"\\u005f_proto__":1}`, 'forbidden_key', '/__proto__'),
  ...each('constructor', (fields) => `{${fields},"constructor":{"prototype":{"admin":true}}}`, 'forbidden_key', '/constructor'),
  ...each('prototype', (fields) => `{${fields},"prototype":{}}`, 'forbidden_key', '/prototype'),
  ...each('an unknown field', (fields) => `{${fields},"admin":true}`, 'unknown_field', '/admin'),
  ...each('an unknown field with a slash', (fields) => `{${fields},"a/b":1}`, 'unknown_field', '/a~1b'),
  ...each('a regular expression', (fields) => `{${fields},"regex":"(a+)+$"}`, 'unknown_field', '/regex'),
  ...each("Envoy's configuration", (fields) => `{${fields},"static_resources":{}}`, 'unknown_field', '/static_resources'),
  ...each('a field in another case', (fields) => `{${fields},"Rewrite":"/"}`, 'unknown_field', '/Rewrite'),
  ...each('an empty field name', (fields) => `{${fields},"":1}`, 'unknown_field', '/'),
  raw('an empty object (v1)', '{}', malformed('missing_field', '/name'), { ambassador: null }),
  raw('an empty object (ambassador)', '{}', malformed('missing_field', '/prefix'), { v1: null }),
  raw('no service (v1)', '{"name":"hostile","prefix":"/hostile/"}', malformed('missing_field', '/service'), { ambassador: null }),
  raw('no service (ambassador)', '{"prefix":"/hostile/"}', malformed('missing_field', '/service'), { v1: null }),
  raw('not UTF-8', Uint8Array.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]), malformed('body_not_utf8', ''), { httpOnly: true }),
  raw('an overlong NUL', Uint8Array.from([0x7b, 0x22, 0xc0, 0x80, 0x22, 0x3a, 0x31, 0x7d]), malformed('body_not_utf8', ''), {
    httpOnly: true,
  }),
  raw('UTF-16', Uint8Array.from([0xff, 0xfe, 0x7b, 0x00, 0x7d, 0x00]), malformed('body_not_utf8', ''), { httpOnly: true }),
  raw(
    'a form',
    'prefix=%2Fa%2F',
    { status: 415, code: 'media_type_unsupported', pointer: '' },
    {
      httpOnly: true,
      contentType: 'application/x-www-form-urlencoded',
    },
  ),
  raw(
    'plain text',
    `{${soundOriginal}}`,
    { status: 415, code: 'media_type_unsupported', pointer: '' },
    { httpOnly: true, contentType: 'text/plain' },
  ),
  raw('300 kB', `{"prefix":"/${'a'.repeat(300_000)}"}`, { status: 413, code: 'body_too_large', pointer: '' }, { httpOnly: true }),
];
