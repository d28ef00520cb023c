// tables/pkg_config_host.json: how host names compare, and which hosts of a server a rule may serve.

import { compareSpecificity, hostSubsetOf, hostsMatch } from '../../../src/mesh/host.ts';
import type { VirtualServiceRule } from '../../../src/mesh/virtual-services.ts';
import { intersection } from '../../../src/translate/gateway-routes.ts';
import type { BoundServer } from '../../../src/translate/gateway-servers.ts';
import { differs, text, texts } from './case.ts';
import { table } from './table.ts';

/** Hosts that a server with `serverHosts` serves for a rule of `namespace` with `ruleHosts`. */
const served = (serverHosts: readonly string[], ruleHosts: readonly string[], namespace: string): readonly string[] =>
  intersection(
    { server: { hosts: serverHosts }, gateway: { namespace: '' } } as unknown as BoundServer,
    { namespace, hosts: ruleHosts } as unknown as VirtualServiceRule,
  );

export const configHost = table({
  TestNameMatches: (r) => differs(hostsMatch(text(r['a']), text(r['b'])), r['out']),
  TestNameSubsetOf: (r) => differs(hostSubsetOf(text(r['a']), text(r['b'])), r['out']),
  TestNamesIntersection: (r) => differs(served(texts(r['a']), texts(r['b']), ''), r['intersection']),
  TestNamesForNamespace: (r) => differs(served(texts(r['hosts']), ['*'], text(r['namespace'])), r['want']),
  TestNamesSortOrder: (r) => differs([...texts(r['in'])].sort(compareSpecificity), r['want']),
  TestMoreSpecific: (r) => differs(compareSpecificity(text(r['host1']), text(r['host2'])) <= 0, r['expected']),
});
