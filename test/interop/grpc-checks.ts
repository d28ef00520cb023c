// The gRPC project's interoperability cases: its Go client through two sidecars to its Go server, and grpc-js against the same server.
import { join } from 'node:path';
import { type Mesh, type Ran, ROOT } from '../integration/mesh.ts';
import { expect, type Named, type Suite } from '../integration/suite.ts';
import { TOOL_FOLDER, tool } from './tools.ts';

const GO_CASES = [
  'empty_unary',
  'large_unary',
  'client_streaming',
  'server_streaming',
  'ping_pong',
  'empty_stream',
  'timeout_on_sleeping_server',
  'cancel_after_begin',
  'cancel_after_first_response',
  'status_code_and_message',
  'special_status_message',
  'custom_metadata',
  'unimplemented_method',
  'unimplemented_service',
];
const JS_CASES = [
  'empty_unary',
  'large_unary',
  'server_streaming',
  'ping_pong',
  'status',
  'metadata',
  'deadline',
  'cancel',
  'unimplemented',
];

export const whyNoGrpc = (): string | undefined =>
  ['grpc-interop-client', 'grpc-interop-server'].every(tool) ? undefined : `there is no grpc-interop-client or -server in ${TOOL_FOLDER}`;

export const grpcChecks = async (suite: Suite, mesh: Mesh, named: Named): Promise<void> => {
  for (const name of GO_CASES)
    await suite.check(named(`gRPC, Go: ${name}`), async () =>
      well(await mesh.exec('client', 'grpc-interop-client', '-server_host', 'grpc', '-server_port', '10000', '-test_case', name)),
    );
  const program = join(ROOT, 'test/interop/peers/grpc-js-client.ts');
  for (const name of JS_CASES)
    await suite.check(named(`gRPC, grpc-js: ${name}`), async () => well(await mesh.exec('client', 'node', program, name, 'grpc:10000')));
};

const well = ({ code, out, err }: Ran): undefined => {
  expect(code === 0, `exit ${code}: ${`${out}${err}`.trim().slice(-1200)}`);
  return undefined;
};
