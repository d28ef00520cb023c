// Small tables of Istio's own tests as data: names, protocols, delegates, mutual TLS modes.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Kind, objectOrigin, type Resource } from '../../src/api/resource.ts';
import type { ConnectionPoolSettings, HttpMatchRequest } from '../../src/api/specs.ts';
import { matchesConflict, mergeDelegate } from '../../src/mesh/delegate.ts';
import { hostSubsetOf, hostsMatch } from '../../src/mesh/host.ts';
import { buildPeerAuthentication } from '../../src/mesh/peer-authentication.ts';
import { protocolOfServicePort } from '../../src/mesh/protocol.ts';
import type { Service } from '../../src/mesh/service.ts';
import { upstreamHttp } from '../../src/translate/connection-pool.ts';
import { serviceDomains } from '../../src/translate/route-domains.ts';

const shared = [process.env['SKEIN_SHARED'], join(import.meta.dirname, '../../../shared')].find(
  (d): d is string => d !== undefined && existsSync(join(d, 'corpora')),
);
const skip = shared === undefined ? 'the corpora (../shared/corpora or $SKEIN_SHARED/corpora) are not here' : false;

type Row = Readonly<Record<string, unknown>>;
const rows = (file: string, name: string): readonly Row[] =>
  readFileSync(join(shared ?? '', 'corpora/tables', file), 'utf8')
    .split('\n')
    .map((l) => l.trim().replace(/,$/, ''))
    .filter((l) => l.startsWith('{'))
    .map((l) => JSON.parse(l) as { readonly test: string; readonly case?: Row })
    .filter((r) => r.test === name && r.case !== undefined)
    .map((r) => r.case ?? {});

const check = (file: string, name: string, min: number, problem: (row: Row) => unknown): void => {
  const list = rows(file, name);
  assert.ok(list.length >= min, `only ${list.length} rows of ${name}`);
  for (const row of list) {
    const p = problem(row);
    assert.equal(p, undefined, `${name} ${JSON.stringify(row)}: ${JSON.stringify(p)}`);
  }
};

const differs = (got: unknown, want: unknown): unknown => (JSON.stringify(got) === JSON.stringify(want) ? undefined : (got ?? 'nothing'));
const str = (v: unknown): string => (typeof v === 'string' ? v : '');

test('host names', { skip }, () => {
  check('pkg_config_host.json', 'TestNameMatches', 10, (r) => differs(hostsMatch(str(r['a']), str(r['b'])), r['out']));
  check('pkg_config_host.json', 'TestNameSubsetOf', 5, (r) => differs(hostSubsetOf(str(r['a']), str(r['b'])), r['out']));
});

test('port protocols', { skip }, () => {
  check('pkg_config_kube.json', 'TestConvertProtocol', 5, (r) => {
    const got = protocolOfServicePort(
      Number(r['port'] ?? 0),
      str(r['portName']),
      str(r['proto']) || 'TCP',
      typeof r['appProto'] === 'string' ? r['appProto'] : undefined,
    );
    const want = str(r['expectedProto']);
    return differs(got === 'UNSUPPORTED' ? 'UnsupportedProtocol' : got, want);
  });
});

test('delegated matches', { skip }, () => {
  check('pilot_pkg_model.json', 'TestHasConflict', 8, (r) =>
    differs(matchesConflict(r['root'] as HttpMatchRequest, r['leaf'] as HttpMatchRequest), r['expected']),
  );
  check('pilot_pkg_model.json', 'TestMergeHTTPMatchRequests', 6, (r) => {
    const asRule = (match: unknown): { readonly match?: HttpMatchRequest[] } =>
      Array.isArray(match) ? { match: match as HttpMatchRequest[] } : {};
    const merged = mergeDelegate(asRule(r['root']), [asRule(r['delegate'])])[0]?.match;
    const sorted = (v: unknown): unknown =>
      JSON.parse(JSON.stringify(v ?? null), (_, x) =>
        typeof x === 'object' && x !== null && !Array.isArray(x) ? Object.fromEntries(Object.entries(x).sort()) : x,
      );
    return differs(sorted(merged), sorted(r['expected']));
  });
});

test('domains of services', { skip }, () => {
  check('pilot_pkg_networking_core.json', 'TestGenerateVirtualHostDomains', 3, (r) => {
    const raw = r['service'] as Row;
    const node = r['node'] as Row;
    const vips = ((raw['ClusterVIPs'] as Row | undefined)?.['Addresses'] ?? {}) as Readonly<Record<string, string[]>>;
    const addresses = vips[str((node['Metadata'] as Row | undefined)?.['ClusterID'])] ?? [];
    const service = { host: str(raw['Hostname']), addresses, resolution: 'listed', registry: 'External' } as unknown as Service;
    const { domains } = serviceDomains(service, {
      dnsDomain: str(node['DNSDomain']),
      ipAddresses: (node['IPAddresses'] ?? []) as string[],
    });
    return differs([...domains].sort(), [...(r['want'] as string[])].sort());
  });
});

test('mutual TLS modes', { skip }, () => {
  const modes = ['UNKNOWN', 'DISABLE', 'PERMISSIVE', 'STRICT'];
  check('pilot_pkg_security_authn.json', 'TestComposePeerAuthentication', 8, (r) => {
    const policies = ((r['configs'] ?? []) as Row[]).map((c, i): Resource<'PeerAuthentication'> => {
      const meta = (c['metadata'] ?? c['meta'] ?? c) as Row;
      return {
        kind: 'PeerAuthentication' as Kind & 'PeerAuthentication',
        apiVersion: '',
        name: str(meta['name']) || `p${i}`,
        namespace: str(meta['namespace']),
        labels: {},
        annotations: {},
        creationTimestamp: str(meta['creationTimestamp']) || undefined,
        spec: (c['spec'] ?? {}) as Resource<'PeerAuthentication'>['spec'],
        origin: objectOrigin('t'),
      };
    });
    // The labels of the workload are those the selective policies name: the table lists only policies that apply.
    const labels = Object.assign({}, ...policies.map((p) => p.spec.selector?.matchLabels ?? {})) as Record<string, string>;
    const namespace = policies.find((p) => p.namespace !== 'root-namespace')?.namespace ?? 'ns';
    const got = buildPeerAuthentication(policies, 'root-namespace').forWorkload(namespace, labels);
    const want = r['want'] as Row;
    const wantPorts = Object.fromEntries(Object.entries((want['PerPort'] ?? {}) as Row).map(([k, v]) => [k, modes[Number(v)]]));
    return differs({ mode: got.mode, ports: Object.fromEntries(got.ports) }, { mode: modes[Number(want['Mode'])], ports: wantPorts });
  });
});

test('upgrades to HTTP/2', { skip }, () => {
  check('pilot_pkg_networking_core.json', 'TestShouldH2Upgrade', 5, (r) => {
    const protocol = str((r['port'] as Row)['Protocol']) === 'HTTP' ? 'HTTP' : 'UNSUPPORTED';
    const got = upstreamHttp(protocol, r['connectionPool'] as ConnectionPoolSettings, (r['mesh'] as Row)['h2UpgradePolicy'] === 'UPGRADE');
    return differs(got === 'http2', r['upgrade']);
  });
});
