import { type HostileCase, withField } from './hostile-case.js';

const header = (name: string, value: unknown) => ({ [name]: value });
const at = (name: string) => `/headers/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;

function namedHeader(title: string, name: string, code: string): readonly [string, unknown, string, string] {
  return [title, header(name, 'x'), code, at(name)];
}

function valuedHeader(title: string, value: string, code: string): readonly [string, unknown, string, string] {
  return [title, header('x-a', value), code, at('x-a')];
}

export const headers: HostileCase[] = withField('headers', 'headers', [
  namedHeader('an empty name', '', 'header_name_empty'),
  namedHeader('a space in the name', 'x a', 'header_name_invalid'),
  namedHeader('a colon in the name', 'x:a', 'header_name_invalid'),
  namedHeader('CR LF in the name', 'x\r\nHost', 'header_name_invalid'),
  namedHeader('a NUL in the name', 'x\u0000', 'header_name_invalid'),
  namedHeader('a slash in the name', 'x/a', 'header_name_invalid'),
  namedHeader('a quote in the name', 'x"', 'header_name_invalid'),
  namedHeader('not ASCII in the name', 'x-é', 'header_name_invalid'),
  namedHeader(':path', ':path', 'header_name_pseudo'),
  namedHeader(':authority', ':authority', 'header_name_pseudo'),
  namedHeader(':method', ':method', 'header_name_pseudo'),
  namedHeader('host', 'Host', 'header_name_host'),
  namedHeader('connection', 'connection', 'header_name_unmatchable'),
  namedHeader('transfer-encoding', 'Transfer-Encoding', 'header_name_unmatchable'),
  namedHeader('x-forwarded-for', 'x-forwarded-for', 'header_name_unmatchable'),
  namedHeader('x-request-id', 'x-request-id', 'header_name_unmatchable'),
  namedHeader('authorization', 'authorization', 'header_name_credential'),
  namedHeader('cookie', 'Cookie', 'header_name_credential'),
  namedHeader("Envoy's own", 'x-envoy-internal', 'header_name_reserved'),
  namedHeader('the proof header', 'x-chancery-proof', 'header_name_reserved'),
  namedHeader('an underscore', 'x_a', 'header_name_underscore'),
  namedHeader('129 characters', 'x'.repeat(129), 'header_name_too_long'),
  valuedHeader('an empty value', '', 'header_value_empty'),
  valuedHeader('CR LF in the value', 'a\r\nX-Evil: 1', 'header_value_control_character'),
  valuedHeader('LF in the value', 'a\nb', 'header_value_control_character'),
  valuedHeader('a NUL in the value', 'a\u0000', 'header_value_control_character'),
  valuedHeader('not ASCII in the value', 'größe', 'header_value_not_ascii'),
  valuedHeader('half a surrogate pair', '\ud800', 'header_value_not_ascii'),
  valuedHeader('a space before', ' a', 'header_value_space'),
  valuedHeader('a space behind', 'a ', 'header_value_space'),
  valuedHeader('1,025 characters', 'a'.repeat(1025), 'header_value_too_long'),
  ['twice in different case', { 'X-A': '1', 'x-a': '2' }, 'header_duplicate', '/headers/x-a'],
  ['17 headers', Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`x-${i}`, '1'])), 'headers_too_many', '/headers'],
  ['a number as value', header('x-a', 1), 'wrong_type', '/headers/x-a', 400],
  ['null as value', header('x-a', null), 'wrong_type', '/headers/x-a', 400],
  ['a list as value', header('x-a', ['1']), 'wrong_type', '/headers/x-a', 400],
  ['a matcher as value', header('x-a', { regex: '(a+)+$' }), 'wrong_type', '/headers/x-a', 400],
  ['constructor as name', header('constructor', 'x'), 'forbidden_key', '/headers/constructor', 400],
  ['prototype as name', header('prototype', 'x'), 'forbidden_key', '/headers/prototype', 400],
  ['a list', [['x-a', '1']], 'wrong_type', '/headers', 400],
  ['a text', 'x-a: 1', 'wrong_type', '/headers', 400],
  ['null', null, 'wrong_type', '/headers', 400],
]);

export const methods: HostileCase[] = withField('methods', 'methods', [
  ['lower case', ['get'], 'method_not_upper_case', '/methods/0'],
  ['mixed case', ['GET', 'Post'], 'method_not_upper_case', '/methods/1'],
  ['empty', [''], 'method_unknown', '/methods/0'],
  ['a space', ['GET '], 'method_unknown', '/methods/0'],
  ['two in one', ['GET,POST'], 'method_unknown', '/methods/0'],
  ['CR LF', ['GET\r\nX: 1'], 'method_unknown', '/methods/0'],
  ['a NUL', ['GET\u0000'], 'method_unknown', '/methods/0'],
  ['a regular expression', ['.*'], 'method_unknown', '/methods/0'],
  ['a wildcard', ['*'], 'method_unknown', '/methods/0'],
  ['an invention', ['FOO'], 'method_unknown', '/methods/0'],
  ['a preface of HTTP/2', ['PRI'], 'method_unknown', '/methods/0'],
  ['a look-alike', ['\u0421OPY'], 'method_unknown', '/methods/0'],
  ['an Envoy operator', ['%REQ(x)%'], 'method_unknown', '/methods/0'],
  ['a tunnel', ['CONNECT'], 'method_connect', '/methods/0'],
  ['twice', ['GET', 'GET'], 'method_duplicate', '/methods/1'],
  [
    '17 methods',
    [
      'ACL',
      'BIND',
      'CHECKOUT',
      'COPY',
      'DELETE',
      'GET',
      'HEAD',
      'LINK',
      'LOCK',
      'MERGE',
      'MKCOL',
      'MOVE',
      'NOTIFY',
      'OPTIONS',
      'PATCH',
      'POST',
      'PUT',
    ],
    'methods_too_many',
  ],
  ['100,000 characters', ['A'.repeat(100_000)], 'method_unknown', '/methods/0'],
  ['a number', [1], 'wrong_type', '/methods/0', 400],
  ['null inside', [null], 'wrong_type', '/methods/0', 400],
  ['a list inside', [['GET']], 'wrong_type', '/methods/0', 400],
  ['a text', 'GET', 'wrong_type', '/methods', 400],
  ['an object', { 0: 'GET', length: 1 }, 'wrong_type', '/methods', 400],
  ['null', null, 'wrong_type', '/methods', 400],
]);

export const numbers: HostileCase[] = [
  ...withField('numbers', 'precedence', [
    ['precedence: above the range', 1001, 'precedence_out_of_range'],
    ['precedence: below the range', -1001, 'precedence_out_of_range'],
    ['precedence: 2^31', 2_147_483_648, 'precedence_out_of_range'],
    ['precedence: 2^53', 9_007_199_254_740_992, 'wrong_type', '/precedence', 400],
    ['precedence: 1e300', 1e300, 'wrong_type', '/precedence', 400],
    ['precedence: a fraction', 0.5, 'wrong_type', '/precedence', 400],
    ['precedence: text', '5', 'wrong_type', '/precedence', 400],
    ['precedence: null', null, 'wrong_type', '/precedence', 400],
    ['precedence: a truth value', true, 'wrong_type', '/precedence', 400],
    ['precedence: a list', [1], 'wrong_type', '/precedence', 400],
  ]),
  ...withField('numbers', 'timeoutMs', [
    ['timeoutMs: zero, which would be none at all', 0, 'timeout_out_of_range'],
    ['timeoutMs: negative', -1, 'timeout_out_of_range'],
    ['timeoutMs: over an hour', 3_600_001, 'timeout_out_of_range'],
    ['timeoutMs: 2^32', 4_294_967_296, 'timeout_out_of_range'],
    ['timeoutMs: 1e21', 1e21, 'wrong_type', '/timeoutMs', 400],
    ['timeoutMs: a fraction', 1.5, 'wrong_type', '/timeoutMs', 400],
    ['timeoutMs: text', '5s', 'wrong_type', '/timeoutMs', 400],
    ['timeoutMs: null', null, 'wrong_type', '/timeoutMs', 400],
    ['timeoutMs: an object', { seconds: 5 }, 'wrong_type', '/timeoutMs', 400],
  ]),
];

const label = (key: string, value: unknown) => ({ [key]: value });

function keyedLabel(title: string, key: string, code: string): readonly [string, unknown, string, string] {
  return [title, label(key, 'x'), code, `/labels/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`];
}

export const labels: HostileCase[] = withField('labels', 'labels', [
  keyedLabel('an empty key', '', 'label_key_invalid'),
  keyedLabel('a space in the key', 'a b', 'label_key_invalid'),
  keyedLabel('a quote in the key', "a'b", 'label_key_invalid'),
  keyedLabel('a line break in the key', 'a\nb', 'label_key_invalid'),
  keyedLabel('a NUL in the key', 'a\u0000', 'label_key_invalid'),
  keyedLabel('a slash at the start', '/a', 'label_key_invalid'),
  keyedLabel('a path in the key', 'a/../../b/', 'label_key_invalid'),
  keyedLabel('not ASCII in the key', 'größe', 'label_key_invalid'),
  keyedLabel('an operator of a document database', '$where', 'label_key_invalid'),
  keyedLabel('64 characters', 'a'.repeat(64), 'label_key_too_long'),
  ['a line break in the value', label('a', 'x\ny'), 'label_value_control_character', '/labels/a'],
  ['a NUL in the value', label('a', '\u0000'), 'label_value_control_character', '/labels/a'],
  ['a terminal escape', label('a', '\u001b[2J'), 'label_value_control_character', '/labels/a'],
  ['half a surrogate pair', label('a', '\udc00'), 'label_value_not_text', '/labels/a'],
  ['257 characters', label('a', 'x'.repeat(257)), 'label_value_too_long', '/labels/a'],
  ['33 labels', Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`l${i}`, '1'])), 'labels_too_many'],
  ['constructor as key', label('constructor', 'x'), 'forbidden_key', '/labels/constructor', 400],
  ['a number as value', label('a', 1), 'wrong_type', '/labels/a', 400],
  ['an object as value', label('a', { b: 1 }), 'wrong_type', '/labels/a', 400],
  ['null as value', label('a', null), 'wrong_type', '/labels/a', 400],
  ['a list', ['a'], 'wrong_type', '/labels', 400],
  ['a text', 'a=1', 'wrong_type', '/labels', 400],
]);
