#!/usr/bin/env node
// Runs the gates and the suites one after the other, shows their output as it comes, and sums up. bin/test has set everything up.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const results = join(root, '.cache/test');
const minutes = (count) => count * 60_000;

/** Much of what a spec does is to wait (for an Envoy, a disk, a deadline), so two side by side are quicker on two cores as well; jest would run one there. */
const workers = Math.max(2, availableParallelism() - 1);

/** How long a suite may take to end after its last test. */
const STAYS_MS = 60_000;

const gates = ['types', 'lint', 'arrows', 'dead'];
const suites = { unit: minutes(10), int: minutes(20), e2e: minutes(25) };
const parts = [...gates, ...Object.keys(suites)];

const env = {
  ...process.env,
  PATH: `${join(root, 'node_modules/.bin')}${delimiter}${process.env.PATH ?? ''}`,
  CI: process.env.CI ?? 'true', // jest then never writes snapshots, and asks nobody anything
};

const asked = process.argv.slice(2);
const unknown = asked.filter((part) => !parts.includes(part));
if (unknown.length > 0) {
  console.error(`There is no part ${unknown.join(', ')}; there are: ${parts.join(' ')}`);
  process.exit(2);
}

const total = { passed: 0, failed: 0, skipped: 0 };
const lines = [];
await findEnvoy();
for (const part of parts) {
  if (asked.length > 0 && !asked.includes(part)) continue;
  const began = performance.now();
  console.log(`\n== ${part}`);
  const counts = part in suites ? await runSuite(part, suites[part]) : await runGate(part);
  for (const key of Object.keys(total)) total[key] += counts[key];
  lines.push(`${part.padEnd(7)} ${say(counts).padEnd(36)} ${((performance.now() - began) / 1000).toFixed(1)} s`);
}
console.log(`\n${lines.join('\n')}\n\n${say(total)}`);
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;

function say({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

/** The suites start a real Envoy: it is downloaded here, once and visibly, rather than within some test's deadline. */
async function findEnvoy() {
  const { installEnvoy } = await import(join(root, 'dist/libs/platform/envoy/binary.js'));
  try {
    const { path, version } = await installEnvoy({
      cacheDir: join(root, '.cache/envoy'),
      envoyPath: process.env.ENVOY_PATH,
      searchPath: process.env.PATH,
      onProgress: (message) => console.log(message),
    });
    console.log(`Envoy ${version}: ${path}`);
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}

async function runGate(gate) {
  const ended = await run('npm', ['run', '--silent', gate], minutes(10));
  if (ended !== 0) console.log(`${gate}: failed (${ended})`);
  return ended === 0 ? { passed: 1, failed: 0, skipped: 0 } : { passed: 0, failed: 1, skipped: 0 };
}

async function runSuite(suite, deadlineMs) {
  mkdirSync(results, { recursive: true });
  const file = join(results, `${suite}.json`);
  rmSync(file, { force: true });
  const jest = [join(root, 'node_modules/jest/bin/jest.js'), '--selectProjects', suite, '--json', `--outputFile=${file}`];
  const ended = await run(process.execPath, [...jest, suite === 'e2e' ? '--runInBand' : `--maxWorkers=${workers}`], deadlineMs, {
    more: { NODE_OPTIONS: '--experimental-vm-modules --no-warnings' },
    isDone: () => existsSync(file),
  });
  return count(file, ended, suite);
}

/** Jest's own counts, plus one failure for each file that could not even be run, and one for a run that ended badly with none to show for it. */
function count(file, ended, suite) {
  let report;
  try {
    report = JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    console.log(`${suite}: jest left no report (${ended})`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
  const counts = {
    passed: report.numPassedTests,
    failed: report.numFailedTests + report.numRuntimeErrorTestSuites,
    skipped: report.numPendingTests + report.numTodoTests,
  };
  if (ended !== 0 && counts.failed === 0) {
    console.log(`${suite}: jest ended badly (${ended}), although no test failed`);
    counts.failed = 1;
  }
  return counts;
}

/**
 * The exit status, or what ended it. Jest's JSON goes to its file; its stdout would be the JSON again and is not shown. One that has done its work
 * (`isDone`) and stays has left something open: it is ended after a minute, and that is a failure.
 */
function run(command, args, deadlineMs, { more = {}, isDone = () => false } = {}) {
  return new Promise((resolve) => {
    const quiet = args.includes('--json');
    const child = spawn(command, args, { cwd: root, env: { ...env, ...more }, stdio: ['ignore', quiet ? 'ignore' : 'inherit', 'inherit'] });
    const end = (why) => {
      console.log(`${why}: ended`);
      clearInterval(watch);
      child.kill('SIGTERM');
      setTimeout(() => child.kill('SIGKILL'), 10_000).unref();
    };
    const began = performance.now();
    let doneAt;
    const watch = setInterval(() => {
      const now = performance.now();
      doneAt ??= isDone() ? now : undefined;
      if (doneAt !== undefined && now - doneAt > STAYS_MS) end('done, but something that a test opened keeps it running');
      else if (now - began > deadlineMs) end(`not done within ${deadlineMs / 60_000} minutes`);
    }, 1_000);
    child.once('error', (error) => {
      clearInterval(watch);
      resolve(error.message);
    });
    child.once('exit', (code, signal) => {
      clearInterval(watch);
      resolve(signal ?? code);
    });
  });
}
