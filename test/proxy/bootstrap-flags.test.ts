// The command line of `skein proxy`, which is Envoy's.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseProxyFlags, UsageError } from '../../src/cli/proxy-flags.ts';

test('Envoy’s flags in both spellings; those without effect are accepted', () => {
  const flags = parseProxyFlags([
    '-c',
    'e.yaml',
    '-l',
    'warning',
    '--base-id=3',
    '--concurrency',
    '1',
    '--service-node',
    'n',
    '--drain-time-s',
    '2',
    '--log-file',
    '/x',
    '--disable-hot-restart',
    '--component-log-level',
    'misc:error',
    '--mode',
    'validate',
    '--reject-unknown-dynamic-fields',
    '--config-yaml=node: {id: "a=b"}',
  ]);
  assert.equal(flags.configPath, 'e.yaml');
  assert.equal(flags.logLevel, 'warning');
  assert.equal(flags.baseId, 3);
  assert.equal(flags.serviceNode, 'n');
  assert.equal(flags.drainTimeS, 2);
  assert.equal(flags.logPath, '/x');
  assert.equal(flags.mode, 'validate');
  assert.equal(flags.configYaml, 'node: {id: "a=b"}');
  assert.ok(flags.rejectUnknownDynamicFields);
});

test('wrong usage names the flag', () => {
  for (const [argv, message] of [
    [['--no-such'], /unknown option --no-such/],
    [['-l', 'loud'], /--log-level: "loud" is none of/],
    [['--base-id', 'x'], /--base-id: "x" is not a whole number/],
    [['-c'], /-c needs a value/],
    [['--disable-hot-restart=1'], /takes no value/],
  ] as const) {
    assert.throws(
      () => parseProxyFlags(argv),
      (e) => e instanceof UsageError && message.test(e.message),
      argv.join(' '),
    );
  }
});
