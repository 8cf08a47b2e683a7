import { BinaryWriter } from '@bufbuild/protobuf/wire';

import { Fence, LiveItem, LiveName, LiveProbe } from './generated/delivery.js';
import { LIVE_TYPE } from './resource.js';
import type { ResourceKey, XdsResource } from './xds-resource.js';

/** What a live release says beside its changes; the members are those of the message, described in delivery.proto. */
export interface LiveReleaseHead {
  readonly releaseId: string;
  readonly fence: Fence;
  readonly gateway: string;
  readonly version: number;
  readonly coversFrom: number;
  readonly baseDigest: string;
  readonly digest: string;
  /** Undefined: the node has it. */
  readonly bootstrap: Buffer | undefined;
  readonly bootstrapSha256: string;
  readonly renderSha256: string;
  readonly probes: readonly LiveProbe[];
  readonly marker: string;
  readonly drainTimeS: number;
  readonly parentShutdownTimeS: number;
  readonly force: boolean;
  readonly lowerVersionReason: string;
  readonly proofAnswers: number;
}

/** A live release as it goes over the wire, without the nonce of the stream that it goes to. */
export interface EncodedLiveRelease {
  readonly releaseId: string;
  /** The encoded message LiveRelease, in pieces: what other releases hold too is not copied until the whole is written. */
  readonly parts: readonly Uint8Array[];
}

/** The field `changed` with one item, up to its value, by resource: written once for all releases. */
const itemHeads = new WeakMap<XdsResource, Uint8Array>();

/** Writes what stands before a resource's bytes in releases. Whoever makes thousands of resources in slices does it there. */
export function writeItemHead(resource: XdsResource): Uint8Array {
  const known = itemHeads.get(resource);
  if (known !== undefined) return known;
  const { typeUrl, name, version, value, needs } = resource;
  // The message's fields may come in any order, so that the value comes last, and is copied and never encoded again.
  const rest = LiveItem.encode({ typeUrl, name, sha256: Buffer.from(version, 'hex'), value: Buffer.alloc(0), needs: [...needs] }).finish();
  const writer = new BinaryWriter().uint32(58).uint32(rest.length + 1 + varintLength(value.length) + value.length);
  const head = writer.raw(rest).uint32(34).uint32(value.length).finish();
  itemHeads.set(resource, head);
  return head;
}

function varintLength(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x20_0000 ? 3 : value < 0x1000_0000 ? 4 : 5;
}

/** Encodes a release: only its head is written here, the resources are copied. Field numbers are those of delivery.proto beside this file. */
export function encodeLiveRelease(
  head: LiveReleaseHead,
  change: { readonly upserts: Iterable<XdsResource>; readonly removed: Iterable<ResourceKey> },
): EncodedLiveRelease {
  const parts: Uint8Array[] = [];
  for (const resource of change.upserts) parts.push(writeItemHead(resource), resource.value);
  const writer = new BinaryWriter();
  const text = (field: number, value: string) => value !== '' && writer.uint32(field * 8 + 2).string(value);
  const number = (field: number, value: number) => value !== 0 && writer.uint32(field * 8).int64(value);
  const message = (field: number, bytes: Uint8Array) => writer.uint32(field * 8 + 2).bytes(bytes);
  text(1, head.releaseId);
  message(2, Fence.encode(head.fence).finish());
  text(3, head.gateway);
  number(4, head.version);
  number(5, head.coversFrom);
  text(6, head.baseDigest);
  for (const { typeUrl, name } of change.removed) message(8, LiveName.encode({ typeUrl, name }).finish());
  text(9, head.digest);
  if (head.bootstrap !== undefined) message(10, head.bootstrap);
  text(11, head.bootstrapSha256);
  text(12, head.renderSha256);
  for (const probe of head.probes) message(13, LiveProbe.encode(probe).finish());
  text(14, head.marker);
  number(15, head.drainTimeS);
  number(16, head.parentShutdownTimeS);
  number(17, head.force ? 1 : 0);
  text(18, head.lowerVersionReason);
  number(19, head.proofAnswers);
  parts.push(writer.finish()); // fields may come in any order
  return { releaseId: head.releaseId, parts };
}

/**
 * A DeltaDiscoveryResponse around one release: its pieces are copied once, here, since a whole set of 100,000 routes is 20 MB. Field numbers are those of
 * discovery.proto beside this file.
 */
export function encodeLiveResponse(release: EncodedLiveRelease, nonce: string): Buffer {
  const size = release.parts.reduce((sum, part) => sum + part.length, 0);
  const anyHead = new BinaryWriter().uint32(10).string(LIVE_TYPE).uint32(18).uint32(size).finish();
  const name = new BinaryWriter().uint32(26).string('release').finish();
  const resourceHead = new BinaryWriter()
    .uint32(10)
    .string(release.releaseId)
    .uint32(18)
    .uint32(anyHead.length + size)
    .finish();
  const head = new BinaryWriter()
    .uint32(18)
    .uint32(resourceHead.length + anyHead.length + size + name.length)
    .finish();
  const tail = new BinaryWriter().uint32(34).string(LIVE_TYPE).uint32(42).string(nonce).finish();
  return Buffer.concat([head, resourceHead, anyHead, ...release.parts, name, tail]);
}
