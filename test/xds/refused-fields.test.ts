// Refusing by table: which field is found, under which path, and what counts as not set.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refusedField } from '../../src/xds/refused-fields.ts';

const CLUSTER = 'envoy.config.cluster.v3.Cluster';
const LISTENER = 'envoy.config.listener.v3.Listener';
const OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const HCM = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const managed = (more: object): object => ({ filter_chains: [{}, { filters: [{ typed_config: { '@type': HCM, ...more } }] }] });

test('a refused field is named with its path, in lists and inside extensions', () => {
  assert.equal(refusedField(LISTENER, { transparent: true })?.path, 'transparent');
  assert.equal(refusedField(LISTENER, managed({ scoped_routes: {} }))?.path, 'filter_chains[1].filters[0].typed_config.scoped_routes');
  const listed = { load_assignment: { endpoints: [{ lb_endpoints: [{}, { endpoint_name: 'x' }] }] } };
  assert.equal(refusedField(CLUSTER, listed)?.path, 'load_assignment.endpoints[0].lb_endpoints[1].endpoint_name');
});

test('a value that says nothing is no field: false, empty lists and texts', () => {
  assert.equal(refusedField(LISTENER, { transparent: false, enable_mptcp: false, access_log: [] }), undefined);
  assert.equal(refusedField(LISTENER, managed({ early_header_mutation_extensions: [], append_local_overload: false })), undefined);
});

test('what is inert is not looked into', () => {
  const raw = { '@type': HCM, scoped_routes: {} };
  assert.equal(refusedField(LISTENER, { metadata: { typed_filter_metadata: { a: raw } } }), undefined);
});

test('one message may be refused in one place and not in another', () => {
  const sends = { send_fully_qualified_url: true };
  assert.equal(refusedField(LISTENER, managed({ http_protocol_options: sends })), undefined);
  const cluster = {
    typed_extension_protocol_options: {
      [OPTIONS]: { '@type': `type.googleapis.com/${OPTIONS}`, explicit_http_config: { http_protocol_options: sends } },
    },
  };
  assert.equal(
    refusedField(CLUSTER, cluster)?.path,
    `typed_extension_protocol_options[${OPTIONS}].explicit_http_config.http_protocol_options.send_fully_qualified_url`,
  );
});

test('a configuration in a TypedStruct is read as what it stands for', () => {
  const typed = { '@type': 'type.googleapis.com/xds.type.v3.TypedStruct', type_url: HCM, value: { scoped_routes: {} } };
  assert.equal(
    refusedField(LISTENER, { filter_chains: [{ filters: [{ typed_config: typed }] }] })?.path,
    'filter_chains[0].filters[0].typed_config.value.scoped_routes',
  );
});

test('types that are not known hold nothing', () => {
  assert.equal(refusedField('not.known', { a: 1 }), undefined);
  assert.equal(
    refusedField(LISTENER, { filter_chains: [{ filters: [{ typed_config: { type_url: 'x', value: new Uint8Array(1) } }] }] }),
    undefined,
  );
});
