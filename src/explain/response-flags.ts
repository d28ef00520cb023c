// Every response flag of an access log: what it means, what most often causes it, and what to look at next. In Envoy's order.

import { FLAG_NAMES } from '../plan/response-flag.ts';

export interface FlagMeaning {
  readonly flag: string;
  readonly name: string;
  readonly meaning: string;
  readonly cause: string;
  /** A command; WORKLOAD stands for the proxy that logged it. */
  readonly next: string;
}

type Words = readonly [meaning: string, cause: string, next: string];

const CLUSTERS = 'skein proxy-config clusters WORKLOAD';
const ENDPOINTS = 'skein proxy-config endpoints WORKLOAD';
const ROUTES = 'skein proxy-config routes WORKLOAD';
const LISTENERS = 'skein proxy-config listeners WORKLOAD';
const LOGS = 'skein logs WORKLOAD';
const STATUS = 'skein status';

const WORDS: Readonly<Record<string, Words>> = {
  LH: ['the proxy itself had failed its health check', 'somebody failed it through its admin API', STATUS],
  UH: ['no host of the cluster could be used', 'no replica is ready, a subset selects none, or outlier detection ejected all', ENDPOINTS],
  UT: ['the upstream took longer than the timeout allows', 'a timeout or perTryTimeout that is shorter than the work', ROUTES],
  LR: ['the proxy reset the stream to the upstream', 'the proxy gave the request up, or was draining', LOGS],
  UR: ['the upstream reset the stream', 'the application or its proxy aborted the request', LOGS],
  UF: ['the upstream could not be reached', 'nothing listens, the host is gone, or the TLS modes of the two ends differ', ENDPOINTS],
  UC: ['the upstream closed the connection before it had answered', 'the application closes idle connections early, or crashed', LOGS],
  UO: ['a circuit breaker was open', 'connectionPool limits of the DestinationRule', CLUSTERS],
  NR: [
    'no route, or no filter chain, takes the request',
    'no virtual host for the name, no match for the path, or a STRICT port called in plain text',
    ROUTES,
  ],
  DI: ['the request was delayed on purpose', 'fault.delay of a VirtualService', ROUTES],
  FI: ['the request was failed on purpose', 'fault.abort of a VirtualService', ROUTES],
  RL: ['a rate limit refused the request', 'a local rate limit or a rate-limit server', LISTENERS],
  UAEX: ['the external authorizer refused the request', 'the answer of the authorizer of a CUSTOM policy', LOGS],
  RLSE: ['the rate-limit server could not be asked', 'the server is down and failures are to be refused', CLUSTERS],
  DC: ['the client went away before it had the answer', "the client's own timeout, or a user who left", LOGS],
  URX: ['all retries, or connection attempts, were used up', 'the fault behind the retried requests lasts', ROUTES],
  SI: ['nothing was sent on the stream for too long', 'a slow client or server, or an idle timeout that is too short', ROUTES],
  IH: ['a header of Envoy had a value that is not allowed', 'a client that sends x-envoy headers', LOGS],
  DPE: ['the client broke the rules of HTTP', 'a client that speaks another protocol, or a broken one', LOGS],
  UMSDR: ['the stream lasted longer than it may', 'a maximum stream duration', ROUTES],
  RFCF: ['the answer came from a cache', 'a cache filter', LISTENERS],
  NFCF: ['a filter had no configuration in time', 'a filter configuration that is discovered and has not come', LISTENERS],
  DT: ['the request or connection lasted longer than it may', 'a maximum connection or request duration', LISTENERS],
  UPE: ['the upstream broke the rules of HTTP', 'a port whose protocol is named wrongly, or a broken application', LOGS],
  NC: ['the route leads to a cluster that is not there', 'a subset that no DestinationRule has, or a service that is gone', ROUTES],
  OM: ['the proxy was overloaded and refused the request', 'limits on memory or connections of the proxy', STATUS],
  DF: ['the name of the upstream could not be resolved', 'DNS of an external service', CLUSTERS],
  DO: ['the request was dropped to lessen load', 'drop_overload of the endpoints', ENDPOINTS],
  DR: ['the client reset the stream', 'a client that cancelled, often by its own timeout', LOGS],
  UDO: ['every request to the cluster is dropped', 'drop_overload of all', ENDPOINTS],
};

export const flagMeanings: readonly FlagMeaning[] = FLAG_NAMES.map(([flag, name]) => {
  const [meaning, cause, next] = WORDS[flag] ?? ['', '', ''];
  return { flag, name, meaning, cause, next };
});

/** By its short or long name. */
export const flagMeaning = (text: string): FlagMeaning | undefined =>
  flagMeanings.find((m) => m.flag === text.toUpperCase() || m.name.toLowerCase() === text.toLowerCase());
