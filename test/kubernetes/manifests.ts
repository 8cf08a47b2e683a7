import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { parseAllDocuments } from 'yaml';

import { checkout } from '../support/dev-harness.js';

/** An object of a manifest. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Readonly<Record<string, string>> };
  readonly [more: string]: unknown;
}

/** Of a pod, what the tests look at. */
export interface PodSpec {
  readonly automountServiceAccountToken?: boolean;
  readonly securityContext?: { readonly runAsNonRoot?: boolean };
  readonly volumes?: readonly { readonly name: string; readonly secret?: { readonly secretName: string } }[];
  readonly containers: readonly {
    readonly name: string;
    readonly image: string;
    readonly command?: readonly string[];
    readonly args?: readonly string[];
    readonly env?: readonly EnvironmentVariable[];
    readonly ports?: readonly { readonly name: string }[];
    readonly volumeMounts?: readonly VolumeMount[];
    readonly readinessProbe?: Probe;
    readonly livenessProbe?: Probe;
    readonly resources?: { readonly limits?: { readonly memory?: string }; readonly requests?: object };
    readonly securityContext?: { readonly readOnlyRootFilesystem?: boolean; readonly allowPrivilegeEscalation?: boolean };
  }[];
}

export interface VolumeMount {
  readonly name: string;
  readonly mountPath: string;
  readonly readOnly?: boolean;
}

interface EnvironmentVariable {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: { readonly secretKeyRef?: { readonly name: string; readonly key: string } };
}

interface Probe {
  readonly httpGet?: { readonly port: string };
  readonly tcpSocket?: { readonly port: string };
}

export const deploy = join(checkout, 'deploy');

/** What is checked in, by the folder below deploy/kubernetes. */
export function readManifests(folder: 'base' | 'demo'): Manifest[] {
  const path = join(deploy, 'kubernetes', folder);
  const files = readdirSync(path).filter((name) => name.endsWith('.yaml') && name !== 'kustomization.yaml');
  const namespace = folder === 'demo' ? 'default' : undefined;
  return files.flatMap((name) => parseManifests(readFileSync(join(path, name), 'utf8'), namespace));
}

/** What the chart makes with these values. */
export function renderChart(...settings: readonly string[]): Manifest[] {
  const words = ['template', 'chancery', join(deploy, 'helm/chancery'), '--namespace', 'chancery', '--kube-version', '1.35.0'];
  return parseManifests(execFileSync('helm', [...words, ...settings.flatMap((setting) => ['--set', setting])], { encoding: 'utf8' }));
}

/** Why a command cannot be used; undefined when it can. */
export function missingTool(name: string): string | undefined {
  const { error } = spawnSync(name, ['version']);
  if (error === undefined) return undefined;
  const isBuilt = ['kubectl', 'helm', 'kustomize'].includes(name);
  return `there is no ${name} on PATH${isBuilt ? ` or in .cache/kube (bench/peers/build.sh .cache ${name} makes it)` : ''}`;
}

/** The pod that an object makes; undefined for one that makes none. */
export function podOf({ kind, spec }: Manifest): PodSpec | undefined {
  const template = (spec as { template?: { spec: PodSpec } } | undefined)?.template;
  return ['Deployment', 'StatefulSet', 'Job'].includes(kind) ? template?.spec : undefined;
}

/** What a StatefulSet claims, as volumes of a pod that is looked at alone. */
export function claimedVolumes({ spec }: Manifest): { name: string; persistentVolumeClaim: object }[] {
  const claims = (spec as { volumeClaimTemplates?: { metadata: { name: string } }[] }).volumeClaimTemplates ?? [];
  return claims.map(({ metadata }) => ({ name: metadata.name, persistentVolumeClaim: { claimName: metadata.name } }));
}

/** Where an object is kept by the API server. */
export function pathOf({ apiVersion, kind, metadata }: Manifest): string {
  const group = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const plural = kind === 'NetworkPolicy' ? 'networkpolicies' : `${kind.toLowerCase()}s`;
  return `${group}${metadata.namespace === undefined ? '' : `/namespaces/${metadata.namespace}`}/${plural}`;
}

/** The objects of a file; with a namespace, all of them in it. */
export function parseManifests(text: string, namespace?: string): Manifest[] {
  const objects = parseAllDocuments(text).map((document) => document.toJS() as Manifest | null);
  return objects.flatMap((object) => {
    if (object === null) return [];
    return namespace === undefined ? [object] : [{ ...object, metadata: { ...object.metadata, namespace } }];
  });
}
