// Tells the control plane, every few seconds, what the recorders of this process have seen: two streams over the transport that the agent
// gives, Envoy's metrics service and its access log service. A stream that ended is opened again with the next report; a control plane that
// knows no such service, or keeps none, is asked again after a while. What cannot be told is lost, and never waited for.
import { SENDS_SUMMARIES } from '../../xds/client-features.ts';
import type { Node } from '../../xds/gen/types.ts';
import type { XdsStream, XdsTransport } from '../../xds/transport.ts';
import type { Clock } from '../clock.ts';
import { metricsIdentifier } from './metrics-message.ts';
import { requestsIdentifier } from './request-choice.ts';

export interface SummaryReport {
  readonly metrics: Uint8Array | undefined;
  readonly requests: Uint8Array | undefined;
  /** That were refused; of requests and connections, one message has one kind. */
  readonly connections?: Uint8Array | undefined;
}

const METRICS_METHOD = '/envoy.service.metrics.v3.MetricsService/StreamMetrics';
const REQUESTS_METHOD = '/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs';
const UNIMPLEMENTED = 12;
const ASK_AGAIN_MS = 10 * 60_000;

export class SummaryLink {
  readonly #metrics: ReportStream;
  readonly #requests: ReportStream;

  constructor(transport: XdsTransport, node: Node, clock: Clock) {
    // Who it is, and what is needed of that: no more of a node travels each time.
    const { WORKLOAD_NAME = '', LABELS = {}, SERVICE_ACCOUNT = '', INSTANCE_IPS = '' } = node.metadata ?? {};
    const metadata = { WORKLOAD_NAME, LABELS, SERVICE_ACCOUNT, INSTANCE_IPS, [SENDS_SUMMARIES]: 'true' };
    const own: Node = { id: node.id, cluster: node.cluster, metadata };
    this.#metrics = new ReportStream(transport, METRICS_METHOD, metricsIdentifier(own), clock);
    this.#requests = new ReportStream(transport, REQUESTS_METHOD, requestsIdentifier(own), clock);
  }

  tell({ metrics, requests, connections }: SummaryReport): void {
    if (metrics !== undefined) this.#metrics.send(metrics);
    if (requests !== undefined) this.#requests.send(requests);
    if (connections !== undefined) this.#requests.send(connections);
  }

  close(): void {
    this.#metrics.close();
    this.#requests.close();
  }
}

class ReportStream {
  readonly #transport: XdsTransport;
  readonly #method: string;
  readonly #identifier: Uint8Array;
  readonly #clock: Clock;
  #stream: XdsStream | undefined;
  #notBeforeMs = 0;
  #closed = false;

  constructor(transport: XdsTransport, method: string, identifier: Uint8Array, clock: Clock) {
    this.#transport = transport;
    this.#method = method;
    this.#identifier = identifier;
    this.#clock = clock;
  }

  send(bytes: Uint8Array): void {
    if (this.#closed || this.#clock.monotonicMs() < this.#notBeforeMs) return;
    if (this.#stream === undefined) {
      const stream = this.#transport.open(this.#method, {
        message: () => undefined,
        end: ({ code }) => {
          if (this.#stream === stream) this.#stream = undefined;
          if (code === UNIMPLEMENTED) this.#notBeforeMs = this.#clock.monotonicMs() + ASK_AGAIN_MS;
        },
      });
      this.#stream = stream;
      stream.send(this.#identifier);
    }
    this.#stream.send(bytes);
  }

  close(): void {
    this.#closed = true;
    this.#stream?.close();
  }
}
