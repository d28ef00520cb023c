// Discovery messages read without decoding the resources inside: one bad resource must not spoil its neighbours,
// and an unchanged one need not be decoded at all. Throws CodecError when the envelope itself is malformed.
import { CodecError, encode, typeOfUrl } from './codec.ts';
import { Reader, WireError, Writer } from './wire-format.ts';

/** One resource as it came: its bytes and the name in its first field. */
export interface RawResource {
  readonly typeUrl: string;
  /** '' when it has none or the bytes are malformed. */
  readonly name: string;
  readonly bytes: Uint8Array;
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
  eachField(bytes, 'Resource', (number, r) => {
    if (number === 2) inner = readAny(r.bytes());
    else if (number === 3) name = r.string();
    else return false;
    return true;
  });
  return name === '' ? inner : { ...inner, name };
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
    const any = new Writer();
    any.tag(1, 2);
    any.string(response.typeUrl);
    any.tag(2, 2);
    any.bytes(bytes);
    w.tag(2, 2);
    w.bytes(any.finish());
  }
  text(4, response.typeUrl);
  text(5, response.nonce);
  if (response.controlPlane) {
    w.tag(6, 2);
    w.bytes(encode('envoy.config.core.v3.ControlPlane', { identifier: response.controlPlane }));
  }
  return w.finish();
};
