// Skein's proxy alone with the configuration that Envoy gets, on the same network as Envoy: plain, and with Istio's usual filters and
// log. No agent, no xDS, no interception.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inboundConfig, outboundConfig } from './envoy-config.ts';
import type { Relay, RelayContext, RelayPorts } from './host-relays.ts';

const NOT_BARE = 'left out: the bare proxy is measured over HTTP/1.1 and TCP';

const configure = (skein: string, full: boolean) => (context: RelayContext, ports: RelayPorts) => {
  const command = (hop: 'out' | 'into'): string[] => {
    const accessLog = full ? join(context.dir, `${hop}-access.log`) : '';
    const options = { full, certificates: context.certificates, accessLog, http2: full };
    const file = join(context.dir, `${hop}.json`);
    writeFileSync(file, (hop === 'out' ? outboundConfig : inboundConfig)(options, ports, context.backend));
    return [skein, 'proxy', '-c', file];
  };
  return { out: command('out'), into: command('into') };
};

export const skeinBare = (skein: string): Relay => ({
  name: 'skein-bare',
  note: '`skein proxy -c` with the configuration of the plain Envoy: no log, no filters of Istio',
  cannot: { 'two-hops-h2': NOT_BARE, 'one-hop-grpc': NOT_BARE },
  configure: configure(skein, false),
});

export const skeinFull = (skein: string): Relay => ({
  name: 'skein-full',
  note: '`skein proxy -c` with the configuration of `envoy-full`, filter by filter, and its JSON log: like for like, without a mesh',
  cannot: {},
  configure: configure(skein, true),
});
