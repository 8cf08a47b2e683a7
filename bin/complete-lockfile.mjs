#!/usr/bin/env node
// Completes package-lock.json after `npm install`: optional packages for other platforms that the registry of the day does not
// carry are left out of the lockfile by npm, and `npm ci` then refuses the lockfile. They are never downloaded here (their os, cpu
// or libc differs), so an entry with the version that the parent asks for is enough. Run it after every change of a dependency.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const file = fileURLToPath(new URL('../package-lock.json', import.meta.url));
const lock = JSON.parse(readFileSync(file, 'utf8'));
const systems = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'openharmony', 'sunos', 'win32'];
const processors = {
  arm64: 'arm64',
  aarch64: 'arm64',
  armv7: 'arm',
  armv6: 'arm',
  arm: 'arm',
  ia32: 'ia32',
  x64: 'x64',
  ppc64: 'ppc64',
  s390x: 's390x',
  riscv64: 'riscv64',
  loong64: 'loong64',
  wasm32: 'wasm32',
};

let added = 0;
for (const parent of Object.values(lock.packages)) {
  for (const [name, range] of Object.entries(parent.optionalDependencies ?? {})) {
    const key = `node_modules/${name}`;
    if (lock.packages[key] !== undefined) continue;
    const words = name.split(/[/@-]/);
    const os = systems.find((system) => words.includes(system));
    const cpu = Object.keys(processors).find((processor) => words.includes(processor));
    if (os === undefined && cpu !== 'wasm32') continue; // not a package for one platform: npm must resolve it
    const entry = { version: range.replace(/^[\^~]/, ''), optional: true };
    if (parent.dev) entry.dev = true;
    if (os !== undefined) entry.os = [os];
    if (cpu !== undefined) entry.cpu = [processors[cpu]];
    if (words.includes('musl')) entry.libc = ['musl'];
    else if (words.includes('gnu')) entry.libc = ['glibc'];
    lock.packages[key] = entry;
    added += 1;
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)));
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
console.log(`${added} entries added`);
