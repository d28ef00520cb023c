// What ProxyConfig says of an Envoy's start.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bootstrapSettings } from '../../src/agent/bootstrap-settings.ts';
import { encodeNamed } from '../../src/xds/codec.ts';
import '../../src/xds/control-types.ts';

const bootstrap = (config: unknown) => {
  const made = bootstrapSettings(config, 'web.shop');
  encodeNamed('envoy.config.bootstrap.v3.Bootstrap', {
    static_resources: { clusters: made.clusters },
    stats_config: { stats_tags: made.tags, ...(made.matcher === undefined ? {} : { stats_matcher: made.matcher }) },
    ...(made.tracing === undefined ? {} : { tracing: made.tracing }),
    stats_sinks: made.sinks,
  });
  return made;
};

test('nothing said, or nonsense said, is an Envoy as it was', () => {
  for (const config of [undefined, {}, { proxyStatsMatcher: 'x', extraStatTags: 3, tracing: { zipkin: { address: 'no-port' } } }]) {
    assert.deepEqual(bootstrap(config), { matcher: undefined, tags: [], runtime: {}, tracing: undefined, sinks: [], clusters: [] });
  }
});

test('statistics that are asked for are kept beside those that draining and metrics need', () => {
  const { matcher } = bootstrap({
    proxyStatsMatcher: { inclusionPrefixes: ['upstream'], inclusionSuffixes: ['_rq'], inclusionRegexps: ['a.*b'] },
  });
  const patterns = matcher?.inclusion_list?.patterns ?? [];
  for (const wanted of [{ prefix: 'upstream' }, { suffix: '_rq' }, { safe_regex: { regex: 'a.*b' } }, { suffix: 'downstream_cx_active' }]) {
    assert.ok(
      patterns.some((p) => JSON.stringify(p) === JSON.stringify(wanted)),
      JSON.stringify(wanted),
    );
  }
});

test('a tag is read from names that carry it', () => {
  const [tag] = bootstrap({ extraStatTags: ['my.tag'] }).tags;
  assert.equal(tag?.tag_name, 'my.tag');
  assert.equal(new RegExp(tag?.regex ?? '').exec('istiocustom.my.tag.=v1;.requests')?.[2], 'v1');
});

test('the tracer of the mesh and the sink of statistics are reached by name', () => {
  const made = bootstrap({ tracing: { zipkin: { address: 'zipkin.obs:9411' } }, statsdUdpAddress: '[::1]:8125', runtimeValues: { a: 1 } });
  assert.equal(made.tracing?.http?.name, 'envoy.tracers.zipkin');
  assert.deepEqual(
    made.clusters.map((c) => [c.name, c.load_assignment?.endpoints?.[0]?.lb_endpoints?.[0]?.endpoint?.address?.socket_address?.port_value]),
    [['zipkin', 9411]],
  );
  assert.match(JSON.stringify(made.sinks), /"address":"::1","port_value":8125,"protocol":"UDP"/);
  assert.deepEqual(made.runtime, { a: 1 });
  assert.equal(bootstrap({ tracing: { datadog: { address: 'dd:8126' } } }).clusters[0]?.name, 'datadog_agent');
  const [logs] = bootstrap({ envoyAccessLogService: { address: 'als.obs:15000' } }).clusters;
  assert.equal(logs?.name, 'envoy_accesslog_service');
  assert.match(JSON.stringify(logs), /"explicit_http_config":\{"http2_protocol_options":\{\}\}/);
});
