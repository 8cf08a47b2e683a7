import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';

import { parse } from 'yaml';

import type { FakeApi } from '#platform/kubernetes/fake-api.fixture.js';

import { type Manifest, parseManifests, pathOf } from './manifests.js';

interface Asked {
  readonly words: readonly string[];
  readonly folder: string;
  readonly input: string;
}

/** A program that hands its words, its folder and its input to the test, and prints what that answers. */
const PROGRAM = `
const words = process.argv.slice(1);
const input = words.includes('-') ? require('node:fs').readFileSync(0, 'utf8') : '';
fetch('http://127.0.0.1:PORT', { method: 'POST', body: JSON.stringify({ words, folder: process.cwd(), input }) }).then(async (answer) => {
  (answer.ok ? process.stdout : process.stderr).write(await answer.text());
  process.exitCode = answer.ok ? 0 : 1;
});`;

/** Flags whose value is the next word. */
const VALUED = new Set(['-n', '--namespace', '-f', '-k', '-o', '--output', '--type']);

/**
 * `kubectl` for the lines of docs/kubernetes.md on the fake API server, which has none of what the real one asks for first (discovery, OpenAPI). It knows
 * what those lines say, and ends with an error on anything else.
 */
export class FakeKubectl {
  readonly #api: FakeApi;
  readonly #server: Server;
  readonly #applied = new Map<string, string>();

  private constructor(api: FakeApi) {
    this.#api = api;
    this.#server = createServer(async (request, response) => {
      const text: Buffer[] = [];
      for await (const chunk of request as AsyncIterable<Buffer>) text.push(chunk);
      try {
        response.end(this.#run(JSON.parse(Buffer.concat(text).toString()) as Asked));
      } catch (error) {
        response.writeHead(400).end(`${(error as Error).message}\n`);
      }
    });
  }

  /** Puts a program `kubectl` into `folder`/bin, which belongs on PATH. */
  static async start(api: FakeApi, folder: string): Promise<FakeKubectl> {
    const kubectl = new FakeKubectl(api);
    await new Promise<void>((done) => kubectl.#server.listen(0, '127.0.0.1', done));
    const program = PROGRAM.replace('PORT', String((kubectl.#server.address() as AddressInfo).port));
    mkdirSync(join(folder, 'bin'));
    writeFileSync(join(folder, 'bin/program.cjs'), program);
    const shell = `#!/bin/sh\nexec '${process.execPath}' -e "$(cat '${folder}/bin/program.cjs')" -- "$@"\n`;
    writeFileSync(join(folder, 'bin/kubectl'), shell, { mode: 0o755 });
    return kubectl;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #run({ words, folder, input }: Asked): string {
    const { flags, plain } = read(words);
    const read1 = (name: string) => flags.get(name)?.[0];
    const namespace = read1('-n') ?? read1('--namespace') ?? 'default';
    const said = () => manifestsOf(read1('-k'), read1('-f'), { folder, input }, namespace);
    const [verb = '', ...rest] = plain;
    if (verb === 'create' && rest[0] === 'secret') {
      const secret = secretOf(rest[1] ?? '', { name: rest[2] ?? '', namespace, flags, folder });
      return flags.has('--dry-run') ? `${JSON.stringify(secret)}\n` : this.#apply(secret);
    }
    if (verb === 'label' && flags.has('--local')) {
      const labels = Object.fromEntries(rest.map((pair) => pair.split('=')));
      return said()
        .map((object) => `${JSON.stringify({ ...object, metadata: { ...object.metadata, labels } })}\n`)
        .join('');
    }
    if (verb === 'apply')
      return said()
        .map((object) => this.#apply(object))
        .join('');
    if (verb === 'delete')
      return said()
        .map((object) => this.#delete(object))
        .join('');
    throw new Error(`this kubectl does not know: ${words.join(' ')}`);
  }

  #apply(object: Manifest): string {
    const { collection, namespace, name, key, title } = placeOf(object);
    const [before, after] = [this.#applied.get(key), JSON.stringify(object)];
    this.#applied.set(key, after);
    if (before === undefined) this.#api.objects.create(collection, namespace, object as never);
    else if (before !== after) this.#api.objects.patch(collection, namespace, name, object);
    return `${title} ${before === undefined ? 'created' : before === after ? 'unchanged' : 'configured'}\n`;
  }

  #delete(object: Manifest): string {
    const { collection, namespace, name, key, title } = placeOf(object);
    this.#api.objects.delete(collection, namespace, name);
    this.#applied.delete(key);
    return `${title} deleted\n`;
  }
}

function placeOf(object: Manifest): { collection: string; namespace: string; name: string; key: string; title: string } {
  const { name, namespace = '' } = object.metadata;
  const collection = pathOf({ ...object, metadata: { name } });
  const title = `${object.kind.toLowerCase()}/${name}`;
  return { collection, namespace, name, key: `${namespace}/${title}`, title };
}

function read(words: readonly string[]): { flags: ReadonlyMap<string, readonly string[]>; plain: readonly string[] } {
  const flags = new Map<string, string[]>();
  const plain: string[] = [];
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? '';
    if (!word.startsWith('-')) {
      plain.push(word);
      continue;
    }
    const equals = word.indexOf('=');
    const name = equals < 0 ? word : word.slice(0, equals);
    const value = equals >= 0 ? word.slice(equals + 1) : VALUED.has(name) ? (words[++at] ?? '') : '';
    flags.set(name, [...(flags.get(name) ?? []), value]);
  }
  return { flags, plain };
}

/** The objects of a kustomization's files, of a file, or of the input. */
function manifestsOf(
  kustomization: string | undefined,
  file: string | undefined,
  { folder, input }: Pick<Asked, 'folder' | 'input'>,
  ownNamespace: string,
): Manifest[] {
  const withNamespace = (objects: Manifest[], namespace: string | undefined) =>
    objects.map((object) =>
      object.kind === 'Namespace' ? object : { ...object, metadata: { namespace: namespace ?? ownNamespace, ...object.metadata } },
    );
  if (kustomization === undefined)
    return withNamespace(parseManifests(file === '-' ? input : readFileSync(resolve(folder, file ?? ''), 'utf8')), undefined);
  const path = resolve(folder, kustomization);
  const { resources, namespace } = parse(readFileSync(join(path, 'kustomization.yaml'), 'utf8')) as {
    resources: string[];
    namespace?: string;
  };
  return withNamespace(
    resources.flatMap((name) => parseManifests(readFileSync(join(path, name), 'utf8'))),
    namespace,
  );
}

function secretOf(
  kind: string,
  { name, namespace, flags, folder }: { name: string; namespace: string; flags: ReadonlyMap<string, readonly string[]>; folder: string },
): Manifest {
  const file = (path: string) => readFileSync(resolve(folder, path)).toString('base64');
  const pairs = (flag: string) =>
    (flags.get(flag) ?? []).map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]);
  const literals = pairs('--from-literal').map(([key, value = '']) => [key, Buffer.from(value).toString('base64')]);
  const files = pairs('--from-file').map(([key, path = '']) => [key, file(path)]);
  const pair =
    kind === 'tls'
      ? [
          ['tls.crt', file(flags.get('--cert')?.[0] ?? '')],
          ['tls.key', file(flags.get('--key')?.[0] ?? '')],
        ]
      : [];
  const type = kind === 'tls' ? 'kubernetes.io/tls' : (flags.get('--type')?.[0] ?? 'Opaque');
  const data = Object.fromEntries([...literals, ...files, ...pair]);
  return { apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace }, type, data };
}
