// Values that Istio's own checks let through and for which Envoy refuses the whole listener or route configuration that they end up in:
// every other rule of that port would be lost with them, so they are refused here, where they are written.

import type { Findings } from '../findings.ts';
import { below, child, item } from '../reading/field-path.ts';
import type { Kind, Specs } from '../resource.ts';
import type { MeshConfigSpec } from '../specs.ts';
import { checkFormat } from '../values/format-commands.ts';

/** For a spec that is otherwise without error. */
export const checkProxyRefusals = (kind: Kind, spec: Specs[Kind], path: string, findings: Findings): void => {
  switch (kind) {
    case 'VirtualService':
      checkRoutes(spec as Specs['VirtualService'], path, findings);
      return;
    case 'Gateway':
      for (const [i, server] of ((spec as Specs['Gateway']).servers ?? []).entries())
        checkPins(server.tls, below(item(child(path, 'servers'), i), 'tls'), findings);
      return;
    case 'Sidecar':
      for (const [i, listener] of ((spec as Specs['Sidecar']).ingress ?? []).entries())
        checkPins(listener.tls, below(item(child(path, 'ingress'), i), 'tls'), findings);
      return;
    case 'Telemetry':
      for (const [i, tracing] of ((spec as Specs['Telemetry']).tracing ?? []).entries())
        checkTags(tracing.customTags, below(item(child(path, 'tracing'), i), 'customTags'), findings);
  }
};

/** For settings that are otherwise without error. */
export const checkMeshRefusals = (mesh: MeshConfigSpec, findings: Findings): void => {
  const format = (at: string, text: unknown): void => {
    if (typeof text === 'string') refuse(findings, at, checkFormat(text, 'log'));
  };
  format('accessLogFormat', mesh.accessLogFormat);
  for (const [i, provider] of (mesh.extensionProviders ?? []).entries()) {
    for (const kind of ['envoyFileAccessLog', 'envoyOtelAls'] as const) {
      const at = below(item('extensionProviders', i), `${kind}.logFormat`);
      const written = provider[kind]?.logFormat;
      format(child(at, 'text'), written?.text);
      for (const [name, text] of Object.entries(written?.labels ?? {})) format(child(child(at, 'labels'), name), text);
    }
  }
};

const refuse = (findings: Findings, path: string, failure: string | undefined): void => {
  if (failure !== undefined && !findings.failedAt(path)) findings.add('error', 'PROXY_REFUSES', path, failure);
};

type Headers = NonNullable<NonNullable<Specs['VirtualService']['http']>[number]['headers']>;

const checkRoutes = (spec: Specs['VirtualService'], path: string, findings: Findings): void => {
  const headers = (written: Headers | undefined, at: string): void => {
    for (const side of ['request', 'response'] as const)
      for (const field of ['set', 'add'] as const)
        for (const [name, value] of Object.entries(written?.[side]?.[field] ?? {}))
          refuse(findings, child(below(at, `headers.${side}.${field}`), name), checkFormat(value, 'header'));
  };
  for (const [i, route] of (spec.http ?? []).entries()) {
    const at = item(child(path, 'http'), i);
    headers(route.headers, at);
    for (const [j, destination] of (route.route ?? []).entries()) headers(destination.headers, item(child(at, 'route'), j));
    checkWeights(route.route, at, findings);
    for (const [j, match] of (route.match ?? []).entries())
      if (Object.hasOwn(match.queryParams ?? {}, ''))
        refuse(findings, below(item(child(at, 'match'), j), 'queryParams'), 'a query parameter must have a name');
    if (route.directResponse !== undefined && route.directResponse.status >= STATUS_END)
      refuse(findings, below(at, 'directResponse.status'), STATUS);
    if ((route.fault?.abort?.httpStatus ?? 0) >= STATUS_END) refuse(findings, below(at, 'fault.abort.httpStatus'), STATUS);
  }
  for (const list of ['tcp', 'tls'] as const)
    for (const [i, route] of (spec[list] ?? []).entries()) checkWeights(route.route, item(child(path, list), i), findings);
};

const STATUS_END = 600;
const STATUS = 'must be below 600';
const WEIGHTS_MAX = 2 ** 32 - 1;

/** Envoy adds weights up in 32 bits. */
const checkWeights = (routes: readonly { readonly weight?: number }[] | undefined, path: string, findings: Findings): void => {
  const sum = (routes ?? []).reduce((n, r) => n + (r.weight ?? 0), 0);
  if (sum > WEIGHTS_MAX) refuse(findings, child(path, 'route'), `the sum of weights must be at most ${WEIGHTS_MAX}`);
};

/** SHA-256 of a certificate in hexadecimal, colons or not; of its key in base64. */
const checkPins = (
  tls: { readonly verifyCertificateHash?: readonly string[]; readonly verifyCertificateSpki?: readonly string[] } | undefined,
  path: string,
  findings: Findings,
): void => {
  for (const [i, hash] of (tls?.verifyCertificateHash ?? []).entries())
    if (!/^(?:[0-9a-f]{64}|[0-9a-f]{2}(?::[0-9a-f]{2}){31})$/i.test(hash))
      refuse(
        findings,
        item(child(path, 'verifyCertificateHash'), i),
        'must be a SHA-256 in hexadecimal: 64 digits, or 32 pairs with colons',
      );
  for (const [i, key] of (tls?.verifyCertificateSpki ?? []).entries())
    if (!/^[A-Za-z0-9+/]{43}=$/.test(key))
      refuse(findings, item(child(path, 'verifyCertificateSpki'), i), 'must be a SHA-256 in base64: 43 characters and "="');
};

const checkTags = (
  tags: Readonly<Record<string, { readonly formatter?: { readonly value?: string } }>> | undefined,
  path: string,
  findings: Findings,
): void => {
  for (const [name, tag] of Object.entries(tags ?? {}))
    refuse(findings, below(child(path, name), 'formatter.value'), checkFormat(tag.formatter?.value ?? '', 'tag'));
};
