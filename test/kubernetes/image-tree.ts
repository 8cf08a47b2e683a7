import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { checkout } from '../support/dev-harness.js';
import { deploy } from './manifests.js';

/** What the last stage of deploy/Dockerfile says. */
export interface ImageStage {
  readonly base: string;
  readonly copies: readonly { readonly from: string; readonly source: string; readonly target: string }[];
  readonly env: Readonly<Record<string, string>>;
  readonly user: string;
  readonly folder: string;
}

/** @throws Error on an instruction that this does not know. */
export function readLastStage(): ImageStage {
  const lines = readFileSync(join(deploy, 'Dockerfile'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  const last = lines.findLastIndex((line) => line.startsWith('FROM '));
  const stage = { base: '', copies: [] as ImageStage['copies'][number][], env: {} as Record<string, string>, user: '', folder: '/' };
  for (const line of lines.slice(last)) {
    const [instruction = '', ...words] = line.split(/\s+/);
    const [first = '', source = '', target = ''] = words;
    if (instruction === 'FROM') stage.base = first;
    else if (instruction === 'WORKDIR') stage.folder = first;
    else if (instruction === 'USER') stage.user = first;
    else if (instruction === 'ENV') Object.assign(stage.env, Object.fromEntries(words.map((word) => splitAt(word, '='))));
    else if (instruction === 'COPY' && first.startsWith('--from='))
      stage.copies.push({ from: first.slice('--from='.length), source, target: target.replace(/^\./, stage.folder).replace(/\/+$/, '') });
    else if (instruction !== 'CMD') throw new Error(`deploy/Dockerfile: ${line}: not known to the test of the image`);
  }
  return stage;
}

/** What the base brings (gcr.io/distroless/nodejs on Debian 12): Node, the C and C++ libraries, a user, authorities. Nothing else may be needed. */
const BASE_LIBRARIES = /^(ld-linux-[\w-]+|lib(c|m|dl|rt|pthread|resolv|gcc_s|stdc\+\+|gomp))\.so\.\d+$/;

/** A folder with the files that the image has, as far as they can be had without a registry: the base's are this machine's. */
export function assembleImage(folder: string, stage: ImageStage, made: { readonly envoy: string; readonly launcher: string }): void {
  for (const { from, source, target } of stage.copies) {
    const to = join(folder, target.endsWith(`/${source.split('/').at(-1)}`) ? target : join(target, source.split('/').at(-1) ?? ''));
    mkdirSync(dirname(to), { recursive: true });
    if (from === 'envoy' && source === '/usr/local/bin/envoy') link(made.envoy, to);
    else if (from === 'launcher' && source === '/launcher/launcher') link(made.launcher, to);
    else if (from === 'build' && source === '/app/node_modules') linkProductionPackages(to);
    else if (from === 'build' && source.startsWith('/app/')) link(join(checkout, source.slice('/app/'.length)), to);
    else throw new Error(`deploy/Dockerfile copies ${source} from ${from}: not known to the test of the image`);
  }
  addBase(folder, [made.envoy, process.execPath]);
}

/** What `npm prune --omit=dev --omit=optional` leaves. */
function linkProductionPackages(to: string): void {
  mkdirSync(to);
  const { packages } = JSON.parse(readFileSync(join(checkout, 'package-lock.json'), 'utf8')) as { packages: Record<string, LockEntry> };
  const kept = Object.entries(packages).flatMap(([path, { dev, optional, devOptional }]) =>
    path === '' || dev || optional || devOptional || path.lastIndexOf('node_modules/') > 0 ? [] : [path.slice('node_modules/'.length)],
  );
  for (const scope of new Set(kept.map(dirname))) {
    const names = kept.filter((name) => dirname(name) === scope);
    mkdirSync(join(to, scope), { recursive: true });
    execFileSync('cp', ['-al', ...names.map((name) => join(checkout, 'node_modules', name)), join(to, scope)]);
  }
}

interface LockEntry {
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly devOptional?: boolean;
}

function addBase(folder: string, binaries: readonly string[]): void {
  const put = (path: string, text: string) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  };
  mkdirSync(join(folder, 'nodejs/bin'), { recursive: true });
  link(process.execPath, join(folder, 'nodejs/bin/node'));
  for (const library of new Set(binaries.flatMap(librariesOf))) {
    const name = library.split('/').at(-1) ?? '';
    if (!BASE_LIBRARIES.test(name)) throw new Error(`${name} is needed, which the base of the image does not have`);
    mkdirSync(dirname(join(folder, library)), { recursive: true });
    copyFileSync(library, join(folder, library));
  }
  put('etc/passwd', 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n');
  put('etc/nsswitch.conf', 'hosts: files dns\n');
  const authorities = '/etc/ssl/certs/ca-certificates.crt';
  if (existsSync(authorities)) put(authorities, readFileSync(authorities, 'utf8'));
}

function librariesOf(binary: string): string[] {
  const text = execFileSync('ldd', [binary], { encoding: 'utf8' });
  return [...text.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map((match) => match[1] ?? '');
}

/** Hard links: nothing is copied, and what is mounted read-only cannot be changed through them. */
function link(from: string, to: string): void {
  execFileSync('cp', ['-alL', from, to]);
}

function splitAt(word: string, separator: string): [string, string] {
  const at = word.indexOf(separator);
  return [word.slice(0, at), word.slice(at + 1)];
}
