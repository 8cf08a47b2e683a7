import { basename } from 'node:path';
import { describe, expect, test } from '@jest/globals';

import { exportedNames, functionLengths, isGenerated, isTest, isTypeScript, listFiles } from './source-tree.js';

const MOST_LINES_OF_A_FUNCTION = 70;
const MOST_LINES_OF_A_FILE = 300;

const all = listFiles();
const sources = all.filter(isTypeScript).filter((file) => /^(apps|libs|test|bench)\//.test(file.path) && !isGenerated(file));
const program = sources.filter((file) => !isTest(file));

/** What a reader cannot guess the content of. Use the noun of the domain. Envoy's own names (its HttpConnectionManager) stay Envoy's. */
const vague = /^(utils?|helpers?|managers?|commons?|base|misc|impl)$/i;

describe('the house', () => {
  test('there is something to look at', () => {
    expect(program.length).toBeGreaterThan(50);
    expect(program.flatMap(functionLengths).length).toBeGreaterThan(200);
  });

  test(`functions have at most ${MOST_LINES_OF_A_FUNCTION} lines`, () => {
    const long = program
      .flatMap(functionLengths)
      .filter(({ lines }) => lines > MOST_LINES_OF_A_FUNCTION)
      .map(({ where, lines }) => `${where}: ${lines} lines`);
    expect(long).toEqual([]);
  });

  test(`files have at most ${MOST_LINES_OF_A_FILE} lines`, () => {
    const long = program
      .map(({ path, text }) => ({ path, lines: text.trimEnd().split('\n').length }))
      .filter(({ lines }) => lines > MOST_LINES_OF_A_FILE);
    expect(long).toEqual([]);
  });

  test('no barrels: import the file that owns the name', () => {
    expect(all.map(({ path }) => path).filter((path) => /(^|\/)index\.[cm]?[jt]sx?$/.test(path))).toEqual([]);
  });

  test('named exports only', () => {
    const offenders = sources.filter(
      ({ path, text }) => /^export default\b/m.test(text) && !/^test\/support\/int-(setup|teardown)\.ts$/.test(path),
    ); // jest asks those two for one
    expect(offenders.map(({ path }) => path)).toEqual([]);
  });

  test('names say what a thing is', () => {
    const words = (name: string) => name.split(/[-_.]|(?<=[a-z0-9])(?=[A-Z])/);
    const files = sources.map(({ path }) => path).filter((path) => words(basename(path)).some((word) => vague.test(word)));
    const named = program.filter(({ path }) => !path.startsWith('libs/platform/envoy/model/'));
    const names = named.flatMap((file) =>
      exportedNames(file)
        .filter((name) => words(name).some((word) => vague.test(word)))
        .map((name) => `${file.path}: ${name}`),
    );
    expect({ files, names }).toEqual({ files: [], names: [] });
  });

  test('no skipped and no lonely tests', () => {
    const marks = /\b(?:test|it|describe)\.(?:skip|only|todo)\b|\bx(?:it|describe|test)\(/;
    const offenders = sources.filter(
      ({ path, text }) => path.endsWith('.spec.ts') && path !== 'test/house/house.spec.ts' && marks.test(text),
    );
    expect(offenders.map(({ path }) => path)).toEqual([]);
  });

  test('process.env is read in the configuration only', () => {
    const allowed = /^(libs\/platform\/config\/|test\/|bench\/)|\.(spec|fixture)\.ts$/;
    const offenders = sources.filter(({ path, text }) => !allowed.test(path) && /\bprocess\.env\b/.test(text));
    expect(offenders.map(({ path }) => path)).toEqual([]);
  });

  test('nothing names a machine, its folders, or a registry host', () => {
    // Written so that this file does not find itself.
    const hosts = ['registry' + '.npmjs', 'registry' + '.yarnpkg', 'files' + '.pythonhosted', 'npm' + '.pkg.github'];
    const paths = ['/' + 'root/', '/home/' + '[a-z]', '/' + 'Users/', '/' + 'work/'];
    const forbidden = new RegExp(
      [...hosts.map((host) => host.replace('.', '\\.')), ...paths.map((path) => `(?<![\\w.~}*-])${path}`)].join('|'),
    );
    const offenders = all.flatMap(({ path, text }) =>
      text.split('\n').flatMap((line, i) => (forbidden.test(line) ? [`${path}:${i + 1}: ${line.trim().slice(0, 120)}`] : [])),
    );
    expect(offenders).toEqual([]);
  });
});
