// Sessions that stay with one endpoint: the proxy hands the client a cookie or a header that names the endpoint, and obeys it when it
// comes back. Only for proxies that have Envoy's filter for it.

import type { SessionService } from '../mesh/sessions.ts';
import type { AnyMessage, Cluster, HttpFilter } from '../xds/gen/types.ts';
import type { Context } from './context.ts';
import { mayUnderstand } from './proxy-node.ts';

const FILTER = 'envoy.filters.http.stateful_session';
const TYPE = 'envoy.extensions.filters.http.stateful_session.v3';
const STATES = 'envoy.extensions.http.stateful_session';

const typed = (type: string, fields: Readonly<Record<string, unknown>>): AnyMessage => ({
  '@type': `type.googleapis.com/${type}`,
  ...fields,
});

const understood = (c: Context): boolean => mayUnderstand(c.node, `${TYPE}.StatefulSession`);

const sessionService = (c: Context, host: string): SessionService | undefined => {
  const known = c.snapshot.sessions.filter((s) => s.host === host);
  // Which of several entries of one host the node means is asked only where it matters.
  return known.length < 1 ? undefined : known.find((s) => s.namespace === c.shape(host)?.namespace);
};

/** Does nothing but where a route says more. Calls to the proxy's own application have one endpoint anyway. */
export const sessionFilter = (c: Context): readonly HttpFilter[] =>
  c.snapshot.sessions.length > 0 && understood(c) ? [{ name: FILTER, typed_config: typed(`${TYPE}.StatefulSession`, {}) }] : [];

/** For a route, or the part of a route, that leads to the host. */
export const sessionOf = (c: Context, host: string): Readonly<Record<string, AnyMessage>> | undefined => {
  const session = sessionService(c, host);
  if (session === undefined || !understood(c)) return undefined;
  return { [FILTER]: typed(`${TYPE}.StatefulSessionPerRoute`, { stateful_session: { session_state: stateOf(session.by) } }) };
};

/** A cookie lives as long as the client's own session. */
const stateOf = (by: SessionService['by']) =>
  'header' in by
    ? {
        name: 'envoy.http.stateful_session.header',
        typed_config: typed(`${STATES}.header.v3.HeaderBasedSessionState`, { name: by.header }),
      }
    : {
        name: 'envoy.http.stateful_session.cookie',
        typed_config: typed(`${STATES}.cookie.v3.CookieBasedSessionState`, { cookie: { name: by.cookie, path: '/' } }),
      };

/** An endpoint that ends still serves those who hold its name. */
export const sessionHosts = (c: Context, host: string): NonNullable<Cluster['common_lb_config']> =>
  sessionService(c, host) === undefined || !understood(c)
    ? {}
    : { override_host_status: { statuses: ['UNKNOWN', 'HEALTHY', 'DRAINING', 'DEGRADED'] } };
