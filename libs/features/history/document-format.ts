import type { DocumentFormat } from './configuration-document.js';

/** The media type that a document is answered with. YAML's is RFC 9512's. */
export const mediaTypes: Readonly<Record<DocumentFormat, string>> = {
  json: 'application/json; charset=utf-8',
  yaml: 'application/yaml; charset=utf-8',
};

const formats: Readonly<Record<string, DocumentFormat>> = {
  'application/json': 'json',
  'application/yaml': 'yaml',
  'application/x-yaml': 'yaml',
  'text/yaml': 'yaml',
  'text/x-yaml': 'yaml',
};

/** Which of the two an Accept header prefers; JSON when it names neither. */
export function acceptedFormat(accept: string | undefined): DocumentFormat {
  const wanted = (accept ?? '').split(',').flatMap((range) => {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    const format = Object.hasOwn(formats, type) ? formats[type] : undefined;
    const quality = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2) ?? '1';
    return format === undefined || !(Number(quality) > 0) ? [] : [{ format, quality: Number(quality) }];
  });
  wanted.sort((a, b) => b.quality - a.quality); // stable: the first named of equals
  return wanted[0]?.format ?? 'json';
}
