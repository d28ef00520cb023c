// Services whose clients keep the endpoint they were first given, as a label of the Service asks for.

import type { Problem } from '../api/problem.ts';
import type { Service } from './service.ts';

const COOKIE_LABEL = 'istio.io/persistent-session';
const HEADER_LABEL = 'istio.io/persistent-session-header';

export interface SessionService {
  readonly host: string;
  readonly namespace: string;
  /** What the client brings back, by name. */
  readonly by: { readonly cookie: string } | { readonly header: string };
}

export const sessionServices = (services: readonly Pick<Service, 'host' | 'namespace' | 'labels'>[]): readonly SessionService[] =>
  services.flatMap(({ host, namespace, labels }) => {
    const by = sessionBy(labels);
    return by === undefined ? [] : [{ host, namespace, by }];
  });

/** A cookie counts more than a header. */
const sessionBy = (labels: Service['labels']): SessionService['by'] | undefined => {
  const cookie = labels[COOKIE_LABEL] ?? '';
  const header = labels[HEADER_LABEL] ?? '';
  return cookie !== '' ? { cookie } : header === '' ? undefined : { header };
};

/** Skein's own proxy does not know how, and balances each request by itself: said to whoever asks for sessions. */
export const sessionProblems = (services: readonly Service[]): readonly Problem[] =>
  services.flatMap(({ labels, name, origin }) => {
    if (sessionBy(labels) === undefined) return [];
    const path = `metadata.labels["${(labels[COOKIE_LABEL] ?? '') === '' ? HEADER_LABEL : COOKIE_LABEL}"]`;
    const message = `only clients behind Envoy keep their endpoint of ${name}: Skein's own proxies balance every request`;
    const hint = 'a DestinationRule with consistentHash keeps clients together in both';
    return [{ code: 'SESSION_NOT_KEPT', severity: 'warning', file: origin.file, ...origin.at(path), path, message, hint }];
  });
