import { describe, expect, it } from '@jest/globals';
import { NotHttpError, readAnswer } from './http-answer.js';

const read = (text: string, closed = false) => {
  const answer = readAnswer(Buffer.from(text, 'latin1'), { closed });
  return answer === null ? null : { status: answer.status, body: answer.body.toString(), length: answer.length };
};

describe('an answer from a raw socket', () => {
  it.each([
    ['a length', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi', { status: 200, body: 'hi', length: 40 }],
    [
      'chunks',
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n',
      { status: 200, body: 'hi!', length: 65 },
    ],
    ['no body', 'HTTP/1.1 204 No Content\r\n\r\n', { status: 204, body: '', length: 27 }],
    ['more behind it', 'HTTP/1.1 404 Not Found\r\ncontent-length: 1\r\n\r\nxHTTP/1.1', { status: 404, body: 'x', length: 46 }],
  ])('is read with %s, and is not whole with any byte less', (_what, text, expected) => {
    expect(read(text)).toEqual(expected);
    for (let length = 0; length < expected.length; length++) expect(read(text.slice(0, length))).toBeNull();
  });

  it('ends with the connection when it says no length', () => {
    expect(read('HTTP/1.1 200 OK\r\n\r\nhi')).toBeNull();
    expect(read('HTTP/1.1 200 OK\r\n\r\nhi', true)).toMatchObject({ body: 'hi' });
  });

  it.each(['SSH-2.0-OpenSSH\r\n', 'HTTP/2 200\r\n\r\n', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n'])(
    'refuses %j',
    (text) => {
      expect(() => read(text)).toThrow(NotHttpError);
    },
  );
});
