// Discovery messages read without decoding the resources inside: one bad resource must not spoil its neighbours,
// and an unchanged one need not be decoded at all. Throws CodecError when the envelope itself is malformed.
import { CodecError, encode, typeOfUrl } from './codec.ts';
import type { EncodedResource } from './content.ts';
import { Reader, WireError, Writer } from './wire-format.ts';

/** One resource as it came: its bytes and the name in its first field. */
export interface RawResource {
  readonly typeUrl: string;
  /** '' when it has none or the bytes are malformed. */
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Of a wrapped resource. */
  readonly version?: string | undefined;
  readonly aliases?: readonly string[] | undefined;
}

export interface ResponseEnvelope {
  readonly typeUrl: string;
  readonly versionInfo: string;
  readonly nonce: string;
  readonly resources: readonly RawResource[];
}

const RESOURCE_WRAPPER = 'envoy.service.discovery.v3.Resource';

export const readResponse = (bytes: Uint8Array): ResponseEnvelope => {
  let typeUrl = '';
  let versionInfo = '';
  let nonce = '';
  const resources: RawResource[] = [];
  eachField(bytes, 'DiscoveryResponse', (number, r) => {
    if (number === 1) versionInfo = r.string();
    else if (number === 2) resources.push(readAny(r.bytes()));
    else if (number === 4) typeUrl = r.string();
    else if (number === 5) nonce = r.string();
    else return false;
    return true;
  });
  return { typeUrl, versionInfo, nonce, resources };
};

export interface DeltaEnvelope extends ResponseEnvelope {
  readonly removed: readonly string[];
  /** Names, and what else they are called, that the server knows nothing by. */
  readonly unknown: readonly string[];
}

export const readDeltaResponse = (bytes: Uint8Array): DeltaEnvelope => {
  let typeUrl = '';
  let versionInfo = '';
  let nonce = '';
  const resources: RawResource[] = [];
  const removed: string[] = [];
  const unknown: string[] = [];
  eachField(bytes, 'DeltaDiscoveryResponse', (number, r) => {
    if (number === 1) versionInfo = r.string();
    else if (number === 2) {
      const resource = readWrapped(r.bytes());
      if (resource.typeUrl === '') unknown.push(resource.name, ...(resource.aliases ?? []));
      else resources.push(resource);
    } else if (number === 4) typeUrl = r.string();
    else if (number === 5) nonce = r.string();
    else if (number === 6) removed.push(r.string());
    else return false;
    return true;
  });
  return { typeUrl, versionInfo, nonce, resources, removed, unknown };
};

const readAny = (bytes: Uint8Array): RawResource => {
  let typeUrl = '';
  let value: Uint8Array = new Uint8Array();
  eachField(bytes, 'Any', (number, r) => {
    if (number === 1) typeUrl = r.string();
    else if (number === 2) value = r.bytes();
    else return false;
    return true;
  });
  if (typeOfUrl(typeUrl) === RESOURCE_WRAPPER) return readWrapped(value);
  return { typeUrl, name: firstString(value), bytes: value };
};

/** envoy.service.discovery.v3.Resource: name = 3, resource = 2. */
const readWrapped = (bytes: Uint8Array): RawResource => {
  let inner: RawResource = { typeUrl: '', name: '', bytes: new Uint8Array() };
  let name = '';
  let version = '';
  const aliases: string[] = [];
  eachField(bytes, 'Resource', (number, r) => {
    if (number === 1) version = r.string();
    else if (number === 2) inner = readAny(r.bytes());
    else if (number === 3) name = r.string();
    else if (number === 4) aliases.push(r.string());
    else return false;
    return true;
  });
  return { ...inner, name: name === '' ? inner.name : name, version, aliases };
};

/** The string in field 1: the name of every resource type that Envoy has; '' when there is none. */
const firstString = (bytes: Uint8Array): string => {
  try {
    const r = new Reader(bytes);
    while (r.pos < r.end) {
      const tag = r.varint();
      if (tag === 10) return r.string();
      r.skip(tag % 8);
    }
  } catch (e) {
    if (!(e instanceof WireError)) throw e;
  }
  return '';
};

/** `read` answers false for a field that it does not take. All fields that it takes are length-delimited. */
const eachField = (bytes: Uint8Array, what: string, read: (number: number, r: Reader) => boolean): void => {
  try {
    const r = new Reader(bytes);
    while (r.pos < r.end) {
      const tag = r.varint();
      if (tag % 8 !== 2 || !read(Math.floor(tag / 8), r)) r.skip(tag % 8);
    }
  } catch (e) {
    if (e instanceof WireError) throw new CodecError('', `${what}: ${e.message}`);
    throw e;
  }
};

export interface OutgoingResponse {
  readonly typeUrl: string;
  readonly versionInfo: string;
  readonly nonce: string;
  /** Encoded resources (the value of each Any). */
  readonly resources: readonly Uint8Array[];
  /** Who answers, for logs at the far side. */
  readonly controlPlane?: string | undefined;
}

const writeAny = (w: Writer, typeUrl: string, bytes: Uint8Array): void => {
  w.tag(1, 2);
  w.string(typeUrl);
  w.tag(2, 2);
  w.bytes(bytes);
};

/** The bytes of a DiscoveryResponse around resources that are encoded already. */
export const writeResponse = (response: OutgoingResponse): Uint8Array => {
  const w = new Writer();
  const text = (number: number, value: string): void => {
    if (value === '') return;
    w.tag(number, 2);
    w.string(value);
  };
  text(1, response.versionInfo);
  for (const bytes of response.resources) {
    w.tag(2, 2);
    w.nested(() => writeAny(w, response.typeUrl, bytes));
  }
  text(4, response.typeUrl);
  text(5, response.nonce);
  if (response.controlPlane) {
    w.tag(6, 2);
    w.bytes(encode('envoy.config.core.v3.ControlPlane', { identifier: response.controlPlane }));
  }
  return w.finish();
};

/** Field 2 of a DeltaDiscoveryResponse, once for each resource: {version 1, resource 2, name 3, aliases 4}. */
export const deltaResources = (list: readonly EncodedResource[], typeUrl: string): Uint8Array => {
  const w = new Writer();
  for (const { name, version, bytes, aliases, absent } of list) {
    w.tag(2, 2);
    w.nested(() => {
      w.tag(1, 2);
      w.string(version);
      if (absent !== true) {
        w.tag(2, 2);
        w.nested(() => writeAny(w, typeUrl, bytes));
      }
      if (name === '') return;
      w.tag(3, 2);
      w.string(name);
      for (const alias of aliases ?? []) {
        w.tag(4, 2);
        w.string(alias);
      }
    });
  }
  return w.finish();
};

export interface DeltaTail {
  readonly typeUrl: string;
  /** `system_version_info`: for people. */
  readonly version: string;
  readonly nonce: string;
  readonly removed: readonly string[];
  readonly controlPlane?: string | undefined;
}

/** The fields of a DeltaDiscoveryResponse beside its resources: these bytes behind theirs are the message. */
export const deltaTail = ({ typeUrl, version, nonce, removed, controlPlane }: DeltaTail): Uint8Array => {
  const w = new Writer();
  const text = (number: number, value: string): void => {
    w.tag(number, 2);
    w.string(value);
  };
  text(1, version);
  text(4, typeUrl);
  text(5, nonce);
  for (const name of removed) text(6, name);
  if (controlPlane) {
    w.tag(7, 2);
    w.bytes(encode('envoy.config.core.v3.ControlPlane', { identifier: controlPlane }));
  }
  return w.finish();
};
