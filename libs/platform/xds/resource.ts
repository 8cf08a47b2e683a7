import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';

import { sha256Hex } from '#platform/kernel/digest.js';
import { BootstrapFile, EndpointFile, LiveRelease, Manifest } from './generated/delivery.js';
import { Resource } from './generated/discovery.js';

export const BOOTSTRAP_TYPE = 'type.googleapis.com/chancery.delivery.v1.BootstrapFile';
export const ENDPOINTS_TYPE = 'type.googleapis.com/chancery.delivery.v1.EndpointFile';
export const MANIFEST_TYPE = 'type.googleapis.com/chancery.delivery.v1.Manifest';
/** One release of a gateway that is delivered live, whole: its one resource changes with every release, and is never removed. */
export const LIVE_TYPE = 'type.googleapis.com/chancery.delivery.v1.LiveRelease';

/** In the order in which they are sent: the manifest closes a release. */
export const DELIVERY_TYPES = [ENDPOINTS_TYPE, BOOTSTRAP_TYPE, MANIFEST_TYPE] as const;
export type DeliveryType = (typeof DELIVERY_TYPES)[number];

export const BOOTSTRAP_NAME = 'bootstrap';
const MANIFEST_NAME = 'release';

/** A resource as it goes over the wire. Encoded once, however many agents get it. */
export interface EncodedResource {
  readonly name: string;
  /** Hash of the content: equal content, equal version, on every worker. */
  readonly version: string;
  /** The encoded message envoy.service.discovery.v3.Resource. */
  readonly bytes: Buffer;
}

function encodeResource(typeUrl: DeliveryType, name: string, value: Uint8Array, version: string): EncodedResource {
  const bytes = Resource.encode({ name, version, resource: { typeUrl, value: Buffer.from(value) } }).finish();
  return { name, version, bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
}

/** The complete Envoy bootstrap of a release. Its version is the SHA-256 of the JSON bytes, which is what the manifest names. */
export function encodeBootstrap(json: Buffer): EncodedResource {
  return encodeResource(BOOTSTRAP_TYPE, BOOTSTRAP_NAME, BootstrapFile.encode({ json }).finish(), sha256Hex(json));
}

/** One watched endpoint file. */
export function encodeEndpointFile(cluster: string, json: Buffer): EncodedResource {
  return encodeResource(ENDPOINTS_TYPE, cluster, EndpointFile.encode({ json }).finish(), sha256Hex(json));
}

/** A file that only nodes which have it can have: the same version, and no bytes. */
export function encodeHeldFile(name: string, sha256: string): EncodedResource {
  return encodeResource(ENDPOINTS_TYPE, name, EndpointFile.encode({ json: Buffer.alloc(0) }).finish(), sha256);
}

/** The release itself. Its version is the release id, which is unique per target. */
export function encodeManifest(manifest: Manifest): EncodedResource {
  return encodeResource(MANIFEST_TYPE, MANIFEST_NAME, Manifest.encode(manifest).finish(), manifest.releaseId);
}

/**
 * A DeltaDiscoveryResponse around resources that are encoded already: only the frame is written here.
 * Field numbers are those of discovery.proto beside this file.
 */
export function encodeDeltaResponse(response: {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly resources: readonly EncodedResource[];
  readonly removed: readonly string[];
}): Buffer {
  const writer = new BinaryWriter();
  for (const resource of response.resources) writer.uint32(18).bytes(resource.bytes);
  writer.uint32(34).string(response.typeUrl);
  writer.uint32(42).string(response.nonce);
  for (const name of response.removed) writer.uint32(50).string(name);
  const bytes = writer.finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** What an agent got: the decoded payload of one resource. */
export type DeliveredResource =
  | { readonly kind: 'bootstrap' | 'endpoints'; readonly name: string; readonly version: string; readonly json: Buffer }
  | { readonly kind: 'manifest'; readonly name: string; readonly version: string; readonly manifest: Manifest }
  | { readonly kind: 'live'; readonly name: string; readonly version: string; readonly release: LiveRelease };

/**
 * Decodes one resource of a response.
 * @throws Error when the type is not one of ours or the bytes are not its message.
 */
export function decodeResource(typeUrl: string, resource: Resource): DeliveredResource {
  const { name, version } = resource;
  const value = resource.resource?.value;
  if (value === undefined || resource.resource?.typeUrl !== typeUrl) throw new Error(`resource ${name}: no value of type ${typeUrl}`);
  const reader = new BinaryReader(value);
  if (typeUrl === BOOTSTRAP_TYPE) return { kind: 'bootstrap', name, version, json: BootstrapFile.decode(reader).json };
  if (typeUrl === ENDPOINTS_TYPE) return { kind: 'endpoints', name, version, json: EndpointFile.decode(reader).json };
  if (typeUrl === MANIFEST_TYPE) return { kind: 'manifest', name, version, manifest: Manifest.decode(reader) };
  if (typeUrl === LIVE_TYPE) return { kind: 'live', name, version, release: LiveRelease.decode(reader) };
  throw new Error(`resource ${name}: unknown type ${typeUrl}`);
}
