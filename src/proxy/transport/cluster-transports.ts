// The transports of one cluster: its own and those of transport_socket_matches, of which a host's metadata chooses.

import type { Cluster, JsonObject } from '../../xds/gen/types.ts';
import type { StatsStore } from '../stats-store.ts';
import { probed } from '../upstream/upstream-keep-alive.ts';
import type { SecretStore } from './secrets.ts';
import { TlsStats } from './tls-stats.ts';
import { compileUpstreamTransport, type TransportOwner, type UpstreamTransport } from './upstream-transport.ts';

interface TransportMatch {
  readonly match: readonly (readonly [key: string, value: string])[];
  readonly transport: UpstreamTransport;
}

const MATCHED = 'envoy.transport_socket_match';

interface TransportEnvironment {
  readonly secrets: SecretStore;
  readonly stats: StatsStore;
  changed(): void;
}

export class ClusterTransports {
  readonly byDefault: UpstreamTransport;
  readonly #matches: readonly TransportMatch[];
  readonly #all: readonly UpstreamTransport[];

  /** `distrusted`: a server that was trusted may no longer be; new requests need new connections. */
  constructor(config: Cluster, environment: TransportEnvironment, statName: string, distrusted: () => void) {
    const { secrets, stats } = environment;
    let tlsStats: TlsStats | undefined;
    const owner: TransportOwner = {
      changed: () => environment.changed(),
      distrusted,
      // Most clusters of a mesh are never called.
      get tlsStats() {
        tlsStats ??= new TlsStats(stats, `cluster.${statName}.`);
        return tlsStats;
      },
    };
    const made: UpstreamTransport[] = [];
    const compile = (socket: Cluster['transport_socket'], path: string): UpstreamTransport => {
      const compiled = compileUpstreamTransport(socket, secrets, path, owner);
      const transport = probed(compiled, config.upstream_connection_options?.tcp_keepalive);
      made.push(transport);
      return transport;
    };
    try {
      this.byDefault = compile(config.transport_socket, 'transport_socket');
      this.#matches = (config.transport_socket_matches ?? []).map((m, i) => ({
        match: Object.entries(m.match ?? {}).map(([key, value]) => [key, JSON.stringify(value)] as const),
        transport: compile(m.transport_socket, `transport_socket_matches[${i}].transport_socket`),
      }));
    } catch (problem) {
      for (const transport of made) transport.close();
      throw problem;
    }
    this.#all = made;
  }

  get warm(): boolean {
    return this.#all.every((t) => t.warm);
  }
  /** Every connection is TLS. */
  get allTls(): boolean {
    return this.#all.every((t) => t.kind === 'tls');
  }
  get anyTls(): boolean {
    return this.#all.some((t) => t.kind === 'tls');
  }
  get tellsClient(): boolean {
    return this.#all.some((t) => t.tellsClient);
  }

  forMetadata(metadata: unknown): UpstreamTransport {
    if (this.#matches.length === 0) return this.byDefault;
    return this.matching((metadata as { filter_metadata?: { [key: string]: JsonObject } } | undefined)?.filter_metadata?.[MATCHED]);
  }

  matching(facts: JsonObject | undefined): UpstreamTransport {
    for (const { match, transport } of this.#matches)
      if (match.every(([key, value]) => facts !== undefined && JSON.stringify(facts[key]) === value)) return transport;
    return this.byDefault;
  }

  close(): void {
    for (const transport of this.#all) transport.close();
  }
}
