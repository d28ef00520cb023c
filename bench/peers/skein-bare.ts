// Skein's proxy alone with the configuration of the plain Envoy: no log, no filters of Istio, no agent, no xDS.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inboundConfig, outboundConfig } from './envoy-config.ts';
import type { Relay, RelayContext, RelayPorts } from './host-relays.ts';

const NOT_BARE = 'left out: the bare proxy is measured over HTTP/1.1 and TCP';

export const skeinBare = (skein: string): Relay => ({
  name: 'skein-bare',
  note: '`skein proxy -c` with the configuration of the plain Envoy: no log, no filters of Istio',
  cannot: { 'two-hops-h2': NOT_BARE, 'one-hop-grpc': NOT_BARE },
  configure: (context: RelayContext, ports: RelayPorts) => {
    const command = (hop: 'out' | 'into'): string[] => {
      const options = { full: false, certificates: context.certificates, accessLog: '', http2: false };
      const file = join(context.dir, `${hop}.json`);
      writeFileSync(file, (hop === 'out' ? outboundConfig : inboundConfig)(options, ports, context.backend));
      return [skein, 'proxy', '-c', file];
    };
    return { out: command('out'), into: command('into') };
  },
});
