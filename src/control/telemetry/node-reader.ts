// What a stream says of who it is: the Node in its first message. It is a claim, to be held against the caller's proof. Pure.
import { CodecError, decode } from '../../xds/codec.ts';
import type { Node } from '../../xds/gen/types.ts';
import { WireError } from '../../xds/wire-format.ts';

export const readNode = (bytes: Uint8Array): Node => {
  try {
    return decode('envoy.config.core.v3.Node', bytes);
  } catch (error) {
    throw error instanceof CodecError ? new WireError(error.message) : error;
  }
};
