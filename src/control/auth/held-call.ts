// A call whose caller is not known yet, because an issuer or an API server is being asked: what it sends waits, bounded, and is given to
// the handler that the answer brings.
import { GRPC, type GrpcStatus } from '../../wire/grpc-frames.ts';
import type { GrpcHandler } from '../xds/grpc-server.ts';

const HELD_BYTES_MAX = 4 * 1024 * 1024;
const HELD_MESSAGES_MAX = 256;

export const heldCall = (
  call: { end(status: GrpcStatus): void },
  handler: Promise<GrpcHandler>,
  failed: (error: unknown) => void,
): GrpcHandler => {
  let serving: GrpcHandler | undefined;
  let over = false;
  let ended = false;
  let bytes = 0;
  const held: Uint8Array[] = [];
  const end = (status: GrpcStatus): void => {
    if (!over) call.end(status);
  };
  const go = (made: GrpcHandler): void => {
    serving = made;
    if (over) {
      made.closed();
      return;
    }
    for (const message of held.splice(0)) if (!over) made.message(message);
    if (ended && !over) made.halfClosed();
  };
  handler.then(go).catch((error: unknown) => {
    failed(error);
    end({ code: GRPC.INTERNAL, message: 'internal error of the control plane' });
  });
  return {
    message: (message) => {
      if (serving) {
        serving.message(message);
        return;
      }
      bytes += message.length;
      if (held.length >= HELD_MESSAGES_MAX || bytes > HELD_BYTES_MAX)
        end({ code: GRPC.RESOURCE_EXHAUSTED, message: 'too much was sent before the caller was known' });
      else held.push(message);
    },
    halfClosed: () => {
      ended = true;
      serving?.halfClosed();
    },
    drained: () => serving?.drained(),
    closed: () => {
      over = true;
      serving?.closed();
    },
  };
};
