// Istio's `io.istio.http.peer_metadata.Config` as an HTTP filter: reads, strips and adds the peer metadata headers as its
// configuration says. What it learns goes into StreamInfo.filterState for metrics and logs. Discovery by
// workload address and by baggage is accepted and gives nothing.
import type { HeaderBlock } from '../../wire/header-block.ts';
import { H } from '../../wire/header-name.ts';
import type { AnyMessage, IoIstioHttpPeerMetadataPeerMetadata_Config as Config, JsonObject } from '../../xds/gen/types.ts';
import type { FilterExchange, HttpFilter } from '../filters/http-filter.ts';
import { DOWNSTREAM_PEER, UPSTREAM_PEER } from './parties.ts';
import type { PeerMetadata } from './peer-metadata.ts';
import { unwrap } from './stats-config.ts';

export const PEER_METADATA_TYPE_URL = 'type.googleapis.com/io.istio.http.peer_metadata.Config';

/** A factory of HTTP filters that needs nothing of where they live. */
export const peerMetadataFilter = (metadata: PeerMetadata): { compile(typedConfig: AnyMessage | undefined): HttpFilter } => ({
  compile: (typedConfig: AnyMessage | undefined): HttpFilter => {
    const config: Config = unwrap(typedConfig).value;
    const readsRequest = (config.downstream_discovery ?? []).some((m) => m.istio_headers);
    const answers = (config.downstream_propagation ?? []).some((m) => m.istio_headers);
    const readsResponse = (config.upstream_discovery ?? []).some((m) => m.istio_headers);
    const tells = (config.upstream_propagation ?? []).find((m) => m.istio_headers);
    const sparesExternal = tells?.istio_headers?.skip_external_clusters ?? false;
    return {
      onRequest: (exchange) => {
        const { info, requestHeaders } = exchange;
        if (readsRequest) {
          const told = requestHeaders.hasId(H.X_ENVOY_PEER_METADATA);
          if (told) {
            const peer = metadata.readPeer(requestHeaders);
            if (peer) info.filterState[DOWNSTREAM_PEER] = peer as unknown as JsonObject;
          }
          metadata.strip(requestHeaders);
          if (told && answers) info.filterState[ANSWER] = 'yes';
        }
        if (tells && !(sparesExternal && isExternal(exchange))) metadata.addOwn(requestHeaders);
        return undefined;
      },
      onResponse: (exchange, responseHeaders: HeaderBlock) => {
        const { info } = exchange;
        if (readsResponse) {
          const peer = metadata.readPeer(responseHeaders);
          if (peer) info.filterState[UPSTREAM_PEER] = peer as unknown as JsonObject;
          metadata.strip(responseHeaders);
        }
        // Only a caller that told who it is is told in turn: others would pass the header on to who knows whom.
        if (info.filterState[ANSWER] !== undefined) metadata.addOwn(responseHeaders);
      },
    };
  },
});

/** Filter state: the caller takes part in the exchange of metadata. */
const ANSWER = 'skein.peer_metadata.answer';

const isExternal = (exchange: FilterExchange): boolean => exchange.info.clusterMetadata?.filter_metadata?.['istio']?.['external'] === true;
