// Every route configuration, filter chain list and log format of the recorded configurations compiles.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { compileFilterChains } from '../../src/plan/filter-chain.ts';
import { compileSubstitutionFormat } from '../../src/plan/log-format.ts';
import { PlanError } from '../../src/plan/plan-error.ts';
import { compileRoutes, matchRoute } from '../../src/plan/route.ts';
import type { JsonObject, Listener, RouteConfiguration, SubstitutionFormatString } from '../../src/xds/gen/types.ts';
import { fromJson } from '../../src/xds/json.ts';
import { info, request } from './request.ts';

const shared = process.env['SKEIN_SHARED'] ?? join(import.meta.dirname, '../../../shared');
const files = ['xds.jsonl', 'xds-istio.jsonl'].map((f) => join(shared, 'oracle', f));
const skip = files.every((f) => existsSync(f)) ? false : 'the recorded configurations (SKEIN_SHARED or ../shared) are not here';

interface Record {
  readonly name: string;
  readonly listeners?: readonly JsonObject[];
  readonly routes?: readonly JsonObject[];
}

/** The members with this name, anywhere inside. */
const members = (value: unknown, name: string): unknown[] => {
  if (Array.isArray(value)) return value.flatMap((v) => members(v, name));
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([k, v]) => (k === name ? [v] : members(v, name)));
};
/** Recorded configurations that must not be taken. */
const REFUSED: readonly { readonly applies: (rc: RouteConfiguration) => boolean }[] = [
  // A claim matcher of the presence form has no pattern: Envoy refuses the whole configuration too.
  { applies: (rc) => JSON.stringify(members(rc, 'dynamic_metadata')).includes('"string_match":{}') },
  // A header name with a space: Envoy would send it; here it is refused, since the next hop could read it as two things.
  { applies: (rc) => JSON.stringify(rc).includes('"key":"bad name"') },
];
const withoutType = ({ '@type': _, ...rest }: JsonObject): JsonObject => rest;

test('recorded configurations compile', { skip }, () => {
  const seen = { refused: 0, routes: 0, hosts: 0, listeners: 0, formats: 0 };
  for (const file of files) {
    for (const line of readFileSync(file, 'utf8').split('\n')) {
      if (line === '') continue;
      const record = JSON.parse(line) as Record;
      const inline = members(record.listeners, 'route_config') as JsonObject[];
      for (const raw of [...(record.routes ?? []).map(withoutType), ...inline]) {
        const rc: RouteConfiguration = fromJson('envoy.config.route.v3.RouteConfiguration', raw);
        if (REFUSED.some((r) => r.applies(rc))) {
          assert.throws(() => compileRoutes(rc), PlanError, record.name);
          seen.refused++;
          continue;
        }
        const plan = compileRoutes(rc);
        seen.routes++;
        for (const host of rc.virtual_hosts ?? []) {
          const domain = host.domains?.find((d) => !d.includes('*')) ?? 'any.test';
          const match = matchRoute(plan, request('/', { authority: domain, scheme: 'https' }), () => 0);
          assert.notEqual(match.kind, 'no-vhost', `${record.name} ${rc.name} ${domain}`);
          if (match.kind === 'route') assert.equal(match.virtualHost.name, host.name);
          seen.hosts++;
        }
      }
      for (const raw of record.listeners ?? []) {
        // Filters of unknown types do not concern the choice of a chain.
        const bare = JSON.parse(
          JSON.stringify(withoutType(raw), (key, value: unknown) =>
            key === 'filters' || key === 'typed_config' || key === 'access_log' ? undefined : value,
          ),
        ) as JsonObject;
        const listener: Listener = fromJson('envoy.config.listener.v3.Listener', bare);
        assert.equal(compileFilterChains(listener).chainCount, listener.filter_chains?.length ?? 0);
        seen.listeners++;
      }
      for (const raw of members(record.listeners, 'log_format')) {
        const format: SubstitutionFormatString = fromJson('envoy.config.core.v3.SubstitutionFormatString', raw);
        assert.doesNotThrow(() => JSON.parse(compileSubstitutionFormat(format)(info())));
        seen.formats++;
      }
    }
  }
  assert.ok(
    seen.routes > 1000 && seen.hosts > 1500 && seen.listeners > 900 && seen.formats > 2000 && seen.refused < 10,
    JSON.stringify(seen),
  );
});
