// The decisions for the recorded gateway requests, compared with what the recorded Envoy logged: cluster, path sent
// upstream, status and location of answers made by the proxy. Requests whose weights are drawn are compared by membership.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { applyHeaderOps } from '../../src/plan/header-ops.ts';
import { normalizedPath } from '../../src/plan/path.ts';
import { redirectLocation, rewrittenPath } from '../../src/plan/rewrite.ts';
import { compileRoutes, matchRoute } from '../../src/plan/route.ts';
import { type RequestTarget, requestTarget } from '../../src/wire/http1-framing.ts';
import type { JsonObject } from '../../src/xds/gen/types.ts';
import { fromJson } from '../../src/xds/json.ts';
import { block, info, request } from './request.ts';

const shared = process.env['SKEIN_SHARED'] ?? join(import.meta.dirname, '../../../shared');
const oracle = (file: string): string => join(shared, 'oracle', file);
const skip =
  existsSync(oracle('behaviour.jsonl')) && existsSync(oracle('xds.jsonl'))
    ? false
    : 'the recorded behaviour (SKEIN_SHARED or ../shared) is not here';

interface Vector {
  readonly request?: {
    readonly path?: string;
    readonly host?: string;
    readonly method?: string;
    readonly headers?: { readonly [name: string]: string } | readonly (readonly [string, string])[];
    readonly port?: number;
    readonly tls?: unknown;
    readonly tcp?: string;
    readonly repeat?: number;
  };
  readonly expected?: {
    readonly status?: number;
    readonly responseHeaders?: { readonly location?: string };
    readonly seen?: { readonly path?: string; readonly headers?: { readonly [name: string]: string | readonly string[] } };
    readonly log?: { readonly gateway?: { readonly cluster?: string; readonly details?: string } };
  };
}
interface Scenario {
  readonly name: string;
  readonly topology: string;
  readonly rejectedByProxy?: unknown;
  readonly vectors: readonly Vector[];
}
const lines = <T>(file: string): T[] =>
  readFileSync(oracle(file), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as T);

/** Answers of filters before the router: the route was not asked. */
const BEFORE_ROUTER =
  /^(rbac_|jwt_|ext_authz|fault_filter|request_rate_limited|local_rate_limited|path_normalization|missing_|absolute_path_rejected|http1\.|cors)/;

test('recorded gateway requests are decided as Envoy decided them', { skip }, () => {
  const routes = new Map(lines<{ name: string; routes?: JsonObject[] }>('xds.jsonl').map((r) => [r.name, r.routes ?? []]));
  const seen = { clusters: 0, answers: 0, paths: 0, headers: 0 };
  for (const scenario of lines<Scenario>('behaviour.jsonl')) {
    if (scenario.topology !== 'gateway' || scenario.rejectedByProxy) continue;
    // Routes by claims need the JWT filter's metadata.
    if (scenario.name.startsWith('jwt-claim')) continue;
    const plans = new Map(
      (routes.get(`scenario-${scenario.name}/gateway`) ?? []).map(({ '@type': _, ...rc }) => {
        const config = fromJson('envoy.config.route.v3.RouteConfiguration', rc);
        return [config.name, compileRoutes(config)];
      }),
    );
    for (const { request: sent, expected } of scenario.vectors) {
      const plan = plans.get(`http.${sent?.port ?? 8000}`);
      if (sent === undefined || expected === undefined || plan === undefined || sent.tls || sent.tcp || (sent.repeat ?? 1) > 1) continue;
      const log = expected.log?.gateway;
      if (log?.details === undefined || BEFORE_ROUTER.test(log.details)) continue;
      if (sent.host === undefined) continue;
      const target: RequestTarget = { path: '', authority: '', scheme: '' };
      assert.equal(requestTarget(sent.method ?? 'GET', sent.path ?? '/', 1, block({ host: sent.host }), target), undefined, scenario.name);
      const path = normalizedPath({ normalize: true, mergeSlashes: false, escapedSlashes: 'keep' }, target.path);
      if (typeof path !== 'string') continue;
      const headers = Array.isArray(sent.headers) ? sent.headers : Object.entries(sent.headers ?? {});
      const lower = headers.map(([n, v]) => [String(n).toLowerCase(), String(v)] as const);
      const req = request(path, { authority: target.authority, method: sent.method ?? 'GET', headers: lower });
      const match = matchRoute(plan, req, () => 0);
      const where = `${scenario.name} ${JSON.stringify(sent)} ${JSON.stringify(match.kind === 'route' ? match.clusterName : match.kind)}`;
      if (log.details === 'route_not_found') {
        assert.notEqual(match.kind, 'route', where);
        seen.answers++;
        continue;
      }
      assert.ok(match.kind === 'route', where);
      if (log.details === 'direct_response') {
        assert.equal(match.route.redirect?.status ?? match.route.direct?.status, expected.status, where);
        if (match.route.redirect) assert.equal(redirectLocation(match, req), expected.responseHeaders?.location, where);
        seen.answers++;
      } else if (log.cluster !== undefined) {
        const want = log.cluster.replace(/;$/, '');
        if (match.route.action === 'weighted') assert.ok(plan.clusterNames.has(want), where);
        else assert.equal(match.clusterName, want, where);
        seen.clusters++;
        if (match.route.action !== 'weighted' && expected.seen?.path !== undefined) {
          assert.equal(rewrittenPath(match, req), expected.seen.path, where);
          seen.paths++;
        }
        const upstream = expected.seen?.headers;
        if (match.route.action !== 'weighted' && upstream !== undefined) {
          applyHeaderOps(match.requestHeaderOps, req.headers, info({ method: req.method, path, authority: req.authority }), req.headers);
          for (const name of match.requestHeaderOps.flatMap((ops) => [...ops.removes, ...ops.writes.map((w) => w.name)])) {
            const got = req.headers.values(name);
            const want: string | readonly string[] = upstream[name] ?? [];
            // Facts of the recorded connection are not known here.
            if (JSON.stringify(want).includes('127.0.0.1') || JSON.stringify(want).includes('10.77.')) continue;
            assert.deepEqual(got, Array.isArray(want) ? want : [want], `${where} ${name}`);
            seen.headers++;
          }
        }
      }
    }
  }
  assert.ok(seen.clusters > 100 && seen.answers > 15 && seen.paths > 80 && seen.headers > 5, JSON.stringify(seen));
});
