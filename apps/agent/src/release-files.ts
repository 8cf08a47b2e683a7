import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomically } from '#platform/envoy/durable-file.js';
import { configFile } from '#platform/envoy/epoch-start.js';
import { endpointFile } from '#platform/envoy/model/reserved.js';
import type { NodeFolder } from '#platform/envoy/node-folder.js';
import type { EpochConfig } from '#platform/envoy/recovery-plan.js';
import type { Release } from '#platform/envoy/release-store.js';
import { type LiveRelease, Manifest } from '#platform/xds/generated/delivery.js';
import { BOOTSTRAP_NAME, BOOTSTRAP_TYPE, LIVE_TYPE } from '#platform/xds/resource.js';

/** A release with its key: the name of its configuration file and its place in the order. */
export interface KeyedRelease {
  readonly key: string;
  readonly release: Release;
}

/** What a release is called where only its name matters. */
export interface ReleaseName {
  readonly key: string;
  readonly releaseId: string;
  readonly version: number;
  readonly renderSha256: string;
}

export function nameOf({ key, release: { manifest } }: KeyedRelease): ReleaseName {
  return { key, releaseId: manifest.releaseId, version: manifest.version, renderSha256: manifest.renderSha256 };
}

/** The files of a release as its configuration names them, relative to the node's folder. */
export function namedFiles({ endpoints }: Release): ReadonlyMap<string, Buffer> {
  return new Map([...endpoints].map(([cluster, json]) => [endpointFile(cluster), json]));
}

/**
 * What Envoy is started with for a live release, as a release among the others: gated, kept and gone back to like them. It carries the bootstrap alone, and its
 * render is the bootstrap's hash; what is served is in the live store.
 */
export function liveStart(release: LiveRelease, bootstrap: Buffer): Release {
  const { releaseId, fence, gateway, version, bootstrapSha256, marker, drainTimeS, parentShutdownTimeS, force, proofAnswers } = release;
  const items = [
    { typeUrl: BOOTSTRAP_TYPE, name: BOOTSTRAP_NAME, sha256: bootstrapSha256 },
    { typeUrl: LIVE_TYPE, name: releaseId, sha256: '' },
  ];
  const own = { releaseId, fence, gateway, version, renderSha256: bootstrapSha256, items, marker };
  const manifest = Manifest.fromPartial({ ...own, drainTimeS, parentShutdownTimeS, force, proofAnswers });
  return { manifest, bootstrap, endpoints: new Map() };
}

/** Whether an Envoy with this release gets its resources from the agent. */
export function isLive({ manifest }: Release): boolean {
  return manifest.items.some(({ typeUrl }) => typeUrl === LIVE_TYPE);
}

/**
 * How long an Envoy that is delivered live keeps what a changed listener was before, for the connections that have it: then it cuts them, with the requests that
 * they still have. Nothing waits for it, unlike for the parent of a hot restart, so it is not the window of the settings but as long as a stream may idle; what it
 * costs is memory, which ListenerTurns bounds. Connections that idle end by the idle timeout, those that are used are asked to leave with their next answer.
 */
const LISTENER_DRAIN_S = 300;

export function toEpochConfig({ key, release }: KeyedRelease): EpochConfig {
  const { drainTimeS, parentShutdownTimeS } = release.manifest;
  if (!isLive(release)) return { key, drainTimeS, parentShutdownTimeS };
  return { key, drainTimeS: LISTENER_DRAIN_S, parentShutdownTimeS, serviceNode: nodeIdOf(release.bootstrap) };
}

function nodeIdOf(bootstrap: Buffer): string {
  const { node } = JSON.parse(bootstrap.toString('utf8')) as { node?: { id?: string } };
  return node?.id ?? 'node';
}

/**
 * Puts a release where Envoy reads it. Endpoints are facts of now, not of a version: where a newer release (`facts`) knows a cluster
 * too, its endpoints are taken. A file that is right already is not written: Envoy would load it again, and the disk may be full.
 */
export function writeReleaseFiles(folder: NodeFolder, { key, release }: KeyedRelease, facts: Release | null = null): void {
  const files = [...release.endpoints].map(([cluster, own]) => [endpointFile(cluster), facts?.endpoints.get(cluster) ?? own] as const);
  for (const [name, bytes] of [...files, [configFile(key), release.bootstrap] as const]) {
    const path = join(folder.path, name);
    if (!existsSync(path) || !readFileSync(path).equals(bytes)) writeFileAtomically(path, bytes, { durable: false });
  }
}

/** Removes configurations and endpoint files that none of these releases names. Never called while another epoch still reads them. */
export function dropOtherFiles(folder: NodeFolder, kept: readonly KeyedRelease[]): void {
  const names = new Set(kept.flatMap(({ key, release }) => [configFile(key), ...namedFiles(release).keys()]));
  for (const part of ['configs', 'endpoints']) {
    for (const name of readdirSync(join(folder.path, part))) {
      if (!names.has(`${part}/${name}`)) rmSync(join(folder.path, part, name), { force: true });
    }
  }
}
