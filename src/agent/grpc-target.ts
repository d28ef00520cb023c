// The address of the control plane: `unix:PATH` or `HOST:PORT`, and whether a token may be sent there.
import { type AgentConfig, AgentConfigError } from './agent-config.ts';
import type { WorkloadSecret } from './workload-identity.ts';

export type GrpcTarget =
  | { readonly kind: 'unix'; readonly path: string }
  | {
      readonly kind: 'tcp';
      readonly host: string;
      readonly port: number;
      /** TLS, checked against this bundle. */
      readonly caPem: string | undefined;
      readonly localAddress: string | undefined;
      /** What we present there, as soon as we have it. Read for each connection. */
      readonly own?: () => WorkloadSecret | undefined;
    };

/** Throws AgentConfigError. */
export const targetOf = (config: Pick<AgentConfig, 'xds' | 'xdsCaPem' | 'bindSource'>): GrpcTarget => {
  if (config.xds.startsWith('unix:')) return { kind: 'unix', path: config.xds.slice('unix:'.length).replace(/^\/\/(?=\/)/, '') };
  const [, v6, name, port] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(config.xds) ?? [];
  const host = v6 ?? name;
  if (host === undefined || Number(port) > 65_535) throw new AgentConfigError(`--xds: "${config.xds}" is neither unix:PATH nor HOST:PORT`);
  const loopback = isLoopback(host);
  return { kind: 'tcp', host, port: Number(port), caPem: config.xdsCaPem, localAddress: loopback ? undefined : config.bindSource };
};

/** A bearer token is never sent in clear over a network. */
export const tokenMayTravel = (target: GrpcTarget): boolean =>
  target.kind === 'unix' || target.caPem !== undefined || isLoopback(target.host);

export const isLoopback = (host: string): boolean => host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
