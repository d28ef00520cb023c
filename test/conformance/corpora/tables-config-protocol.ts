// tables/pkg_config_protocol.json and pkg_config_kube.json: the protocol of a name, and of a Service port.

import { type Protocol, protocolOfName, protocolOfServicePort } from '../../../src/mesh/protocol.ts';
import { differs, text } from './case.ts';
import { table } from './table.ts';

/** Istio's spelling where ours is upper case. */
const SPELT: Readonly<Partial<Record<Protocol, string>>> = {
  'GRPC-WEB': 'GRPC-Web',
  MONGO: 'Mongo',
  REDIS: 'Redis',
  MYSQL: 'MySQL',
  UNSUPPORTED: 'UnsupportedProtocol',
};
const spelt = (protocol: Protocol): string => SPELT[protocol] ?? protocol;

export const configProtocol = table({
  TestParse: (r) => differs(spelt(protocolOfName(text(r['name']))), r['out']),
});

export const configKube = table({
  TestConvertProtocol: (r) => {
    const app = r['appProto'];
    const transport = text(r['proto']) || 'TCP';
    const protocol = protocolOfServicePort(
      Number(r['port'] ?? 0),
      text(r['portName']),
      transport,
      typeof app === 'string' ? app : undefined,
    );
    return differs(spelt(protocol), r['expectedProto']);
  },
});
