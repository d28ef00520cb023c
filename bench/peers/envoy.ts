// Envoy as two relays, one worker each: plain and full.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inboundConfig, outboundConfig } from './envoy-config.ts';
import type { Relay, RelayContext, RelayPorts } from './host-relays.ts';

const configure = (binary: string, full: boolean) => (context: RelayContext, ports: RelayPorts) => {
  const command = (hop: 'out' | 'into'): string[] => {
    const options = {
      full,
      certificates: context.certificates,
      accessLog: full ? join(context.dir, `${hop}-access.log`) : '',
      http2: true,
    };
    const file = join(context.dir, `${hop}.json`);
    writeFileSync(file, (hop === 'out' ? outboundConfig : inboundConfig)(options, ports, context.backend));
    return [binary, '-c', file, '--concurrency', '1', '--disable-hot-restart', '--log-level', 'error'];
  };
  return { out: command('out'), into: command('into') };
};

export const envoy = (binary: string): Relay => ({
  name: 'envoy',
  note: 'Envoy, one worker, router only, no log, TLS 1.3 with Envoy’s default curves',
  cannot: {},
  configure: configure(binary, false),
});

export const envoyFull = (binary: string): Relay => ({
  name: 'envoy-full',
  note:
    'Envoy, one worker, with the filters of Istio that stock Envoy has, in its order: RBAC by principal (inbound), grpc_stats, fault, cors, router; ' +
    'JSON log to a file. What stock Envoy lacks is absent: peer metadata exchange, istio.alpn and istio.stats, so Istio’s own Envoy costs more',
  cannot: {},
  configure: configure(binary, true),
});
