import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** One file that is, or is about to be, under version control. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

const binary = /\.(png|ico|woff2?|gz|whl)$/;

/** Tracked files and new ones that are not ignored; with `within`, those below the given folders. */
export function listFiles(within: readonly string[] = ['.']): readonly SourceFile[] {
  const listed = spawnSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '--', ...within], {
    cwd: root,
    encoding: 'utf8',
  });
  if (listed.status !== 0) throw new Error(`git ls-files failed: ${listed.stderr}`);
  return listed.stdout
    .split('\n')
    .filter((path) => path !== '' && !binary.test(path))
    .flatMap(read);
}

function read(path: string): SourceFile[] {
  try {
    return [{ path, text: readFileSync(join(root, path), 'utf8') }];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []; // removed, and not yet committed
    throw error;
  }
}

export const isGenerated = ({ path }: SourceFile) => path.includes('/generated/');
export const isTest = ({ path }: SourceFile) => /\.(spec|fixture)\.ts$/.test(path) || path.startsWith('test/');
export const isTypeScript = ({ path }: SourceFile) => path.endsWith('.ts');

export interface LongFunction {
  readonly where: string;
  readonly lines: number;
}

/** Every function of a file with the lines that it spans, signature and braces included. A function inside another counts in both. */
export function functionLengths(file: SourceFile): LongFunction[] {
  const source = ts.createSourceFile(basename(file.path), file.text, ts.ScriptTarget.Latest, true);
  const found: LongFunction[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node) && 'body' in node && node.body !== undefined) {
      const first = source.getLineAndCharacterOfPosition(node.getStart(source)).line;
      const last = source.getLineAndCharacterOfPosition(node.getEnd()).line;
      found.push({ where: `${file.path}:${first + 1}`, lines: last - first + 1 });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** The names that a file gives to what others may use. */
export function exportedNames(file: SourceFile): string[] {
  return [
    ...file.text.matchAll(/^export (?:async )?(?:abstract )?(?:function\*?|class|const|let|interface|type|enum) ([A-Za-z_$][\w$]*)/gm),
  ].map((match) => match[1] ?? '');
}
