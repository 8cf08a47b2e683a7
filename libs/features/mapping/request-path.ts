import { RESERVED_PREFIX } from '#platform/envoy/model/reserved.js';

import { limits } from './limits.js';
import { type Fault, hasControlCharacter, isPrintableAscii, isWellFormed } from './text.js';

/**
 * The text of a prefix, an exact path or a rewrite. A prefix or path is compared with what is left of the request's path
 * after Envoy has normalised it (RFC 3986 dot segments removed, slashes merged, escaped slashes refused, the query cut
 * off), so text that can never be left is refused here: it would be accepted and silently never match.
 */
export function pathFault(text: string, role: 'match' | 'rewrite'): Fault | undefined {
  const fault = shapeFault(text) ?? segmentFault(text, role) ?? escapeFault(text, role);
  if (fault !== undefined || role === 'rewrite') return fault;
  if (text.toLowerCase().startsWith(RESERVED_PREFIX) || `${text.toLowerCase()}/` === RESERVED_PREFIX) {
    return { code: 'path_reserved', message: `${RESERVED_PREFIX} is the gateway's own; choose another.` };
  }
  return undefined;
}

function shapeFault(text: string): Fault | undefined {
  if (text === '') return { code: 'path_empty', message: 'It is empty; the shortest is "/".' };
  if (hasControlCharacter(text))
    return { code: 'path_control_character', message: 'It holds a control character (such as a line break); remove it.' };
  if (!isWellFormed(text))
    return { code: 'path_not_text', message: 'It holds half of a surrogate pair; send well-formed Unicode, percent-encoded.' };
  if (!text.startsWith('/')) return { code: 'path_not_absolute', message: 'It must start with "/".' };
  if (text.length > limits.textLength) return { code: 'path_too_long', message: `It has at most ${limits.textLength} characters.` };
  if (text.includes('?')) return { code: 'path_has_query', message: 'The query is not part of the path; remove "?" and what follows.' };
  if (text.includes('#')) return { code: 'path_has_fragment', message: 'A fragment never reaches a server; remove "#" and what follows.' };
  if (!isPrintableAscii(text)) return { code: 'path_not_ascii', message: 'Percent-encode what is not ASCII, as UTF-8 (é is %C3%A9).' };
  return undefined;
}

function escapeFault(text: string, role: 'match' | 'rewrite'): Fault | undefined {
  const bad = /[ "<>\\^`{|}]/.exec(text)?.[0];
  if (bad !== undefined)
    return { code: 'path_bad_character', message: `A URL path cannot hold ${JSON.stringify(bad)}; write ${escaped(bad)}.` };
  if (/%(?![0-9A-Fa-f]{2})/.test(text)) {
    return { code: 'path_bad_escape', message: 'A "%" must be followed by two hexadecimal digits; a literal one is %25.' };
  }
  if (/%00/.test(text))
    return { code: 'path_escaped_nul', message: 'The gateway refuses requests with %00, and services are confused by it; remove it.' };
  if (role === 'rewrite') return undefined;
  if (/%(2f|5c)/i.test(text)) {
    return {
      code: 'path_escaped_slash',
      message: 'The gateway refuses requests with an escaped slash, so this could never match; use "/".',
    };
  }
  // Seen on Envoy 1.40: escapes of RFC 3986 unreserved characters are decoded in requests, all others stay as they were sent.
  const needless = /%(2[dDeE]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF]|7[eE])/.exec(text)?.[0];
  if (needless !== undefined) {
    const plain = String.fromCharCode(Number.parseInt(needless.slice(1), 16));
    return {
      code: 'path_needless_escape',
      message: `The gateway decodes ${needless} in requests, so this could never match; write ${plain}.`,
    };
  }
  const lower = /%(?=.?[a-f])../.exec(text)?.[0];
  if (lower === undefined) return undefined;
  return { code: 'path_lower_case_escape', message: `Write escapes in upper case, as clients send them: ${lower.toUpperCase()}.` };
}

function escaped(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
}

function segmentFault(text: string, role: 'match' | 'rewrite'): Fault | undefined {
  const why =
    role === 'match' ? 'the gateway normalises it away in requests, so this could never match' : 'services disagree on what it means';
  if (text.includes('//')) return { code: 'path_empty_segment', message: `It holds "//": ${why}. Use one slash.` };
  // Envoy takes "..;x" for ".." as well.
  if (/\/(\.|%2e){1,2}(;[^/]*)?(\/|$)/i.test(text)) {
    return { code: 'path_dot_segment', message: `It holds a "." or ".." segment: ${why}. Write the path without it.` };
  }
  return undefined;
}
