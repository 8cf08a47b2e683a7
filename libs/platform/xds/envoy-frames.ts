import { BinaryWriter } from '@bufbuild/protobuf/wire';

import type { Outgoing } from './flight.js';
import { SCOPED_ROUTE_TYPE, type XdsResource } from './xds-resource.js';

/** What stands before and after a resource's bytes in a response; written once per resource, for all streams. */
interface Frame {
  readonly head: Uint8Array;
  readonly tail: Uint8Array;
}

const deltaFrames = new WeakMap<XdsResource, Frame>();
const sotwFrames = new WeakMap<XdsResource, Frame>();
const NOTHING = new Uint8Array();

/** What all streams that stand alike are sent: a response up to its nonce. */
interface Body {
  readonly outgoing: Outgoing;
  readonly systemVersion: string;
  readonly bytes: Uint8Array;
}

/** Newest first. A response holds about 1 MB at most; one for each type, and a few for those who are behind. */
const bodies: Body[] = [];
const BODIES_KEPT = 8;

/**
 * A DeltaDiscoveryResponse, in parts. Streams that stand alike are sent the same but for the nonce, which so comes last: all else is written once, and is one
 * piece of memory for all of them. Field numbers here and below are those of proto/discovery.proto.
 */
export function encodeDelta(outgoing: Outgoing, systemVersion: string): readonly [Uint8Array, Uint8Array] {
  const { nonce } = outgoing; // a number in decimal digits
  const tail = Buffer.allocUnsafe(2 + nonce.length);
  tail[0] = 42;
  tail[1] = nonce.length;
  tail.write(nonce, 2, 'latin1');
  return [bodyOf(outgoing, systemVersion), tail];
}

function bodyOf(outgoing: Outgoing, systemVersion: string): Uint8Array {
  const known = bodies.findIndex((body) => body.systemVersion === systemVersion && isAlike(body.outgoing, outgoing));
  const [body = { outgoing, systemVersion, bytes: writeBody(outgoing, systemVersion) }] = known < 0 ? [] : bodies.splice(known, 1);
  if (outgoing.doubtful.size > 0) return body.bytes; // told apart by its nonce
  bodies.unshift(body);
  if (bodies.length > BODIES_KEPT) bodies.pop();
  return body.bytes;
}

function isAlike(a: Outgoing, b: Outgoing): boolean {
  if (a.typeUrl !== b.typeUrl || a.resources.length !== b.resources.length || a.removed.length !== b.removed.length) return false;
  return (
    b.doubtful.size === 0 && a.resources.every((one, i) => one === b.resources[i]) && a.removed.every((name, i) => name === b.removed[i])
  );
}

function writeBody({ typeUrl, nonce, resources, removed, doubtful }: Outgoing, systemVersion: string): Uint8Array {
  const writer = new BinaryWriter().uint32(10).string(systemVersion);
  for (const one of resources) {
    const resource = doubtful.has(one.name) ? toldApart(one, nonce) : one;
    const { head, tail } = framed(resource, deltaFrames, deltaFrame);
    writer.raw(head).raw(resource.value).raw(tail);
  }
  writer.uint32(34).string(typeUrl);
  for (const name of removed) writer.uint32(50).string(name);
  return writer.finish();
}

/** A DiscoveryResponse. */
export function encodeSotw({ typeUrl, nonce, resources, doubtful }: Outgoing, version: string): readonly [Uint8Array] {
  const writer = new BinaryWriter().uint32(10).string(version);
  for (const one of resources) {
    const resource = doubtful.has(one.name) ? toldApart(one, nonce) : one;
    writer.raw(framed(resource, sotwFrames, sotwFrame).head).raw(resource.value);
  }
  return [writer.uint32(34).string(typeUrl).uint32(42).string(nonce).finish()];
}

/**
 * A scope of a response that Envoy refused because of another one: Envoy has noted it without giving it to its workers, and takes the same bytes again for
 * nothing new, acknowledged and never served (seen on 1.40.0, live-envoy.int.spec.ts). So what is sent again differs, in metadata of the routes
 * that nobody reads: appended, since in protobuf the parts of an embedded message are merged.
 */
function toldApart(resource: XdsResource, nonce: string): XdsResource {
  if (resource.typeUrl !== SCOPED_ROUTE_TYPE) return resource;
  const entry = new BinaryWriter().uint32(10).string(`chancery.again.${nonce}`).uint32(18).bytes(NOTHING).finish();
  const metadata = new BinaryWriter().uint32(10).bytes(entry).finish(); // Metadata.filter_metadata = 1
  const routes = new BinaryWriter().uint32(138).bytes(metadata).finish(); // RouteConfiguration.metadata = 17
  const scope = new BinaryWriter().uint32(42).bytes(routes).finish(); // ScopedRouteConfiguration.route_configuration = 5
  return { ...resource, value: Buffer.concat([resource.value, scope]) };
}

function framed(resource: XdsResource, frames: WeakMap<XdsResource, Frame>, make: (resource: XdsResource) => Frame): Frame {
  let frame = frames.get(resource);
  if (frame === undefined) {
    frame = make(resource);
    frames.set(resource, frame);
  }
  return frame;
}

/** Field 2 of the response: Resource {version = 1, resource = 2, name = 3}. */
function deltaFrame({ name, version, typeUrl, value }: XdsResource): Frame {
  const any = anyHead(typeUrl, value.length);
  const anyHeadAndVersion = new BinaryWriter()
    .uint32(10)
    .string(version)
    .uint32(18)
    .uint32(any.length + value.length)
    .raw(any)
    .finish();
  const tail = new BinaryWriter().uint32(26).string(name).finish();
  const length = anyHeadAndVersion.length + value.length + tail.length;
  return { head: new BinaryWriter().uint32(18).uint32(length).raw(anyHeadAndVersion).finish(), tail };
}

/** Field 2 of the response: Any. */
function sotwFrame({ typeUrl, value }: XdsResource): Frame {
  const any = anyHead(typeUrl, value.length);
  return {
    head: new BinaryWriter()
      .uint32(18)
      .uint32(any.length + value.length)
      .raw(any)
      .finish(),
    tail: NOTHING,
  };
}

/** Any {type_url = 1, value = 2} up to its value. */
function anyHead(typeUrl: string, length: number): Uint8Array {
  return new BinaryWriter().uint32(10).string(typeUrl).uint32(18).uint32(length).finish();
}
