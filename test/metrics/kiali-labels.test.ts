// Kiali leaves out a series that lacks one of the labels that it groups by: Istio's standard metrics have all of them, also for requests
// that reached nobody and for TCP.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StreamInfo } from '../../src/plan/stream-info.ts';
import { standardLabels } from '../../src/proxy/telemetry/istio-labels.ts';
import { UNKNOWN_PEER } from '../../src/proxy/telemetry/parties.ts';

const SIDE = ['cluster', 'workload_namespace', 'workload', 'canonical_service', 'canonical_revision', 'principal'];
const ENDS = [
  ...SIDE.flatMap((name) => [`source_${name}`, `destination_${name}`]),
  ...['service_namespace', 'service', 'service_name'].map((name) => `destination_${name}`),
  'reporter',
];
const TCP = [...ENDS, 'response_flags', 'connection_security_policy'];
const REQUESTS = [...TCP, 'request_protocol', 'response_code', 'grpc_response_status'];

const own = { ...UNKNOWN_PEER, workload: 'web', namespace: 'shop', canonicalService: 'web' };
const key = { flags: '-', protocol: 'http', grpcStatus: '', host: '', peerPrincipal: '', ownPrincipal: '', values: '' };

test('series of requests, of connections and of messages have the labels by which Kiali groups them', () => {
  for (const reporter of ['source', 'destination'] as const) {
    const info = new StreamInfo();
    const names = (protocol: string, code: string | undefined): Set<string> =>
      new Set(standardLabels(own, reporter, info, UNKNOWN_PEER, code, { ...key, protocol }, 'all').map(([name]) => name));
    assert.deepEqual(
      [...new Set(REQUESTS)].filter((name) => !names('http', '503').has(name)),
      [],
    );
    assert.deepEqual(
      [...new Set(TCP)].filter((name) => !names('tcp', '').has(name)),
      [],
    );
    assert.deepEqual(
      [...new Set(ENDS)].filter((name) => !names('grpc', undefined).has(name)),
      [],
    );
  }
});

test('a request that reached nobody is one of an unknown workload, by which Kiali finds it', () => {
  const labels = new Map(
    standardLabels(own, 'source', new StreamInfo(), UNKNOWN_PEER, '503', { ...key, flags: 'UH', host: 'a.shop.svc' }, 'all'),
  );
  assert.deepEqual([labels.get('destination_workload'), labels.get('destination_workload_namespace')], ['unknown', 'unknown']);
});
