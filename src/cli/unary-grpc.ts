// A unary gRPC method for the gRPC server: one message in, one message or a status out. Whatever it throws is a status, and a client
// that went away is not answered.
import type { GrpcMethod, GrpcServerCall } from '../control/xds/grpc-server.ts';
import { GRPC, type GrpcStatus } from '../wire/grpc-frames.ts';

export type UnaryMethod = (message: Uint8Array) => Promise<Uint8Array | GrpcStatus>;

export const unary =
  (serve: UnaryMethod): GrpcMethod =>
  (call: GrpcServerCall) => {
    let message: Uint8Array | undefined;
    let over = false;
    const answer = (outcome: Uint8Array | GrpcStatus): void => {
      if (over) return;
      if (!(outcome instanceof Uint8Array)) {
        call.end(outcome);
        return;
      }
      call.send([outcome]);
      call.end({ code: GRPC.OK, message: '' });
    };
    return {
      message: (bytes) => {
        if (message !== undefined) answer({ code: GRPC.INTERNAL, message: 'more than one message' });
        message ??= bytes;
      },
      halfClosed: () => {
        if (message === undefined) answer({ code: GRPC.INTERNAL, message: 'no message' });
        else
          serve(message).then(answer, (problem: unknown) => {
            answer({ code: GRPC.INTERNAL, message: problem instanceof Error ? problem.message : String(problem) });
          });
      },
      drained: () => {},
      closed: () => {
        over = true;
      },
    };
  };
