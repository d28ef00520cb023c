// The redirection program against Istio's own goldens, by what each does to packets; and our own rule of a source address.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type CaptureSettings, parseCaptureSettings } from '../../src/agent/capture/capture-options.ts';
import { type CaptureOptions, captureProgram, DEFAULT_CAPTURE } from '../../src/agent/capture/program.ts';
import { renderIptables } from '../../src/agent/capture/render-iptables.ts';
import { renderNft } from '../../src/agent/capture/render-nft.ts';
import type { Ruleset } from '../../src/agent/capture/ruleset.ts';
import { judge, type Packet, readIptables } from './capture-evaluation.ts';

type Config = Readonly<Record<string, string | boolean | readonly string[] | undefined>>;
interface Case {
  readonly name: string;
  readonly config: Config;
  readonly golden: string;
}

const shared = process.env['SKEIN_SHARED'] ?? fileURLToPath(new URL('../../../shared', import.meta.url));
const corpus = join(shared, 'corpora', 'iptables.json');
const cases: readonly Case[] = existsSync(corpus) ? (JSON.parse(readFileSync(corpus, 'utf8')) as readonly Case[]) : [];

const optionsOf = (c: Config): CaptureOptions => {
  const text = (key: string): string => (typeof c[key] === 'string' ? c[key] : '');
  const servers = [...((c['DNSServersV4'] as readonly string[]) ?? []), ...((c['DNSServersV6'] as readonly string[]) ?? [])];
  const settings: CaptureSettings = {
    inboundPorts: text('InboundPortsInclude'),
    outboundCidrs: text('OutboundIPRangesInclude'),
    excludeOutboundCidrs: text('OutboundIPRangesExclude'),
    outboundPorts: text('OutboundPortsInclude'),
    excludeOutboundPorts: text('OutboundPortsExclude'),
    excludeInterfaces: text('ExcludeInterfaces'),
    virtualInterfaces: text('RerouteVirtualInterfaces'),
    ownerGroups: text('OwnerGroupsInclude'),
    excludeOwnerGroups: text('OwnerGroupsExclude'),
    proxyUid: text('ProxyUID'),
    proxyGid: text('ProxyGID'),
    outboundPort: text('ProxyPort'),
    inboundPort: text('InboundCapturePort'),
    dropInvalid: c['DropInvalid'] === true,
    ipv6: c['EnableIPv6'] === true,
    dns: c['RedirectDNS'] === true,
    dnsServers: servers.length === 0 ? 'none' : servers.join(','),
  };
  // Istio's tests name no ports to exclude unless the case does; here 15020, 15021 and 15090 always are.
  const { dnsServers, ...rest } = settings;
  const options = parseCaptureSettings(dnsServers === 'none' ? { ...rest, dns: false } : settings);
  return { ...options, excludeInboundPorts: text('InboundPortsExclude').split(',').filter(Boolean).map(Number) };
};

/** Every combination of the values that the rules could tell apart. */
const packets = (c: Config, family: Ruleset['family']): Packet[] => {
  const words = (...keys: string[]): string[] =>
    keys.flatMap((k) => (typeof c[k] === 'string' ? c[k].split(',') : [])).filter((w) => w !== '' && w !== '*');
  const v4 = family === 'ipv4';
  const ranges = words('OutboundIPRangesInclude', 'OutboundIPRangesExclude').map((r) => r.split('/')[0] ?? '');
  const servers = (c[v4 ? 'DNSServersV4' : 'DNSServersV6'] as readonly string[] | undefined) ?? [];
  const ofFamily = (a: string): boolean => a.includes(':') !== v4;
  const destinations = [...(v4 ? ['127.0.0.1', '10.9.9.9', '127.0.0.6'] : ['::1', 'fd00::9', '::6']), ...ranges, ...servers].filter(
    ofFamily,
  );
  const sources = [v4 ? '127.0.0.6' : '::6', v4 ? '10.1.1.1' : 'fd00::1', ...servers].filter(ofFamily);
  const ports = [53, 80, 15008, 15053, ...words('InboundPortsInclude', 'InboundPortsExclude', 'OutboundPortsInclude').map(Number)];
  const interfaces = ['eth9', ...words('RerouteVirtualInterfaces', 'ExcludeInterfaces')];
  const users = ['1000', ...words('ProxyUID')];
  const groups = ['1000', ...words('ProxyGID', 'OwnerGroupsInclude', 'OwnerGroupsExclude')];
  const all: Packet[] = [];
  for (const protocol of ['tcp', 'udp'] as const)
    for (const destination of destinations)
      for (const source of sources)
        for (const destinationPort of ports)
          for (const sourcePort of [40_000, 53, 15_053]) {
            const base = { protocol, destination, source, destinationPort, sourcePort, invalid: false };
            for (const inInterface of interfaces)
              for (const invalid of [false, true])
                all.push({ ...base, hook: 'PREROUTING', inInterface, outInterface: '', user: '', group: '', invalid });
            for (const outInterface of ['lo', 'eth0'])
              for (const user of users)
                for (const group of groups) all.push({ ...base, hook: 'OUTPUT', inInterface: '', outInterface, user, group });
          }
  return all;
};

for (const { name, config, golden } of cases) {
  const tproxy = config['InboundInterceptionMode'] === 'TPROXY';
  test(`Istio's golden ${name}`, { skip: tproxy ? 'TPROXY is not offered' : false }, () => {
    const programs = captureProgram(optionsOf(config));
    // Tables come once per family, in order; a second "* nat" begins the IPv6 half.
    const second = golden.indexOf('* nat', golden.indexOf('* nat') + 1);
    const halves = second < 0 ? [golden] : [golden.slice(0, second), golden.slice(second)];
    assert.equal(programs.length, halves.length);
    programs.forEach((ours, i) => {
      const theirs = readIptables(halves[i] ?? '', ours.family);
      const rendered = readIptables(renderIptables(ours), ours.family);
      let compared = 0;
      for (const packet of packets(config, ours.family)) {
        const want = judge(theirs, packet);
        assert.equal(judge(ours, packet), want, JSON.stringify(packet));
        assert.equal(judge(rendered, packet), want, `as text: ${JSON.stringify(packet)}`);
        compared++;
      }
      assert.ok(compared > 100);
    });
  });
}

test('the corpus is there', { skip: cases.length === 0 ? 'no shared corpora beside the checkout (SKEIN_SHARED)' : false }, () => {
  assert.ok(cases.length >= 16);
});

const packet = (more: Partial<Packet>): Packet => ({
  hook: 'OUTPUT',
  protocol: 'tcp',
  source: '10.245.0.10',
  destination: '10.96.0.1',
  sourcePort: 40_000,
  destinationPort: 80,
  inInterface: '',
  outInterface: 'eth0',
  user: '1000',
  group: '1000',
  invalid: false,
  ...more,
});

const local = captureProgram({
  ...DEFAULT_CAPTURE,
  proxy: { kind: 'source', address: '10.244.0.10' },
  excludeInboundSources: ['10.244.0.1'],
  dns: { port: 15053, servers: 'all' },
})[0] as Ruleset;
const TO = (port: number): string => `raw accept, mangle accept, nat {"kind":"redirect","port":${port}}`;
const LEFT = 'raw accept, mangle accept, nat accept';

test('the proxy is told by its source address', () => {
  const proxy = { source: '10.244.0.10' };
  const cases: readonly (readonly [string, Partial<Packet>, string])[] = [
    ['application to anywhere', {}, TO(15001)],
    ['application to a port of another', { destination: '10.244.0.11', destinationPort: 8080 }, TO(15001)],
    ['proxy to anywhere', proxy, LEFT],
    ['proxy to its own workload', { ...proxy, destination: '10.244.0.10', outInterface: 'lo', destinationPort: 8080 }, TO(15006)],
    [
      'proxy to the tunnel port of its own workload',
      { ...proxy, destination: '10.244.0.10', outInterface: 'lo', destinationPort: 15008 },
      LEFT,
    ],
    [
      'proxy to the application for inbound',
      { source: '127.0.0.6', destination: '10.244.0.10', outInterface: 'lo', destinationPort: 8080 },
      LEFT,
    ],
    ['application to itself by its address', { destination: '10.244.0.10', outInterface: 'lo', destinationPort: 8080 }, LEFT],
    ['application to lo', { source: '127.0.0.1', destination: '127.0.0.1', outInterface: 'lo', destinationPort: 8080 }, LEFT],
    ['application asks DNS over udp', { protocol: 'udp', destination: '10.244.0.1', destinationPort: 53 }, TO(15053)],
    ['application asks DNS over tcp', { destination: '10.244.0.1', destinationPort: 53 }, TO(15053)],
    [
      'application asks a resolver on lo',
      { source: '127.0.0.1', destination: '127.0.0.53', outInterface: 'lo', destinationPort: 53, protocol: 'udp' },
      TO(15053),
    ],
    ['proxy asks DNS', { ...proxy, protocol: 'udp', destination: '10.244.0.1', destinationPort: 53 }, LEFT],
    ['application’s other udp', { protocol: 'udp', destinationPort: 443 }, LEFT],
    ['inbound', { hook: 'PREROUTING', source: '10.244.0.11', destination: '10.244.0.10', destinationPort: 8080 }, TO(15006)],
    ['inbound metrics', { hook: 'PREROUTING', source: '10.244.0.11', destination: '10.244.0.10', destinationPort: 15090 }, LEFT],
    ['inbound readiness', { hook: 'PREROUTING', source: '10.244.0.11', destination: '10.244.0.10', destinationPort: 15021 }, LEFT],
    ['inbound merged metrics', { hook: 'PREROUTING', source: '10.244.0.11', destination: '10.244.0.10', destinationPort: 15020 }, LEFT],
    ['inbound tunnel', { hook: 'PREROUTING', source: '10.244.0.11', destination: '10.244.0.10', destinationPort: 15008 }, LEFT],
    ['a probe from the hub', { hook: 'PREROUTING', source: '10.244.0.1', destination: '10.244.0.10', destinationPort: 8080 }, LEFT],
  ];
  for (const [what, more, want] of cases) assert.equal(judge(local, packet(more)), want, what);
});

test('settings are refused by name', () => {
  const refused: readonly (readonly [CaptureSettings, RegExp])[] = [
    [{ inboundPorts: '80,x' }, /inbound port "x" is not a port/],
    [{ inboundPorts: '70000' }, /"70000" is not a port/],
    [{ outboundCidrs: '10.0.0.0/33' }, /outbound range "10.0.0.0\/33" is not a CIDR/],
    [{ excludeOutboundCidrs: 'ten' }, /"ten" is not a CIDR/],
    [{ proxyAddress: 'x' }, /proxy address "x" is not an IP address/],
    [{ proxyUid: '13;37' }, /user "13;37"/],
    [{ excludeInterfaces: 'a b' }, /"a b" is not an interface name/],
    [{ dns: true, dnsServers: 'x' }, /DNS server "x"/],
  ];
  for (const [settings, message] of refused) assert.throws(() => parseCaptureSettings(settings), message);
});

test('text for nft names our own table and every rule', () => {
  const text = renderNft([local]);
  assert.match(text, /^table ip skein\ndelete table ip skein\ntable ip skein \{\n/);
  assert.match(text, /type nat hook output priority -100; policy accept;/);
  assert.match(
    text,
    /oifname "lo" ip daddr != 127\.0\.0\.1\/32 meta l4proto tcp th dport != \{ 53, 15008 \} ip saddr 10\.244\.0\.10 jump nat_ISTIO_IN_REDIRECT/,
  );
  const rules = local.chains.reduce((sum, c) => sum + c.rules.length, 0);
  assert.equal(text.split('\n').filter((l) => /^ {4}/.test(l) && !l.includes(' hook ')).length, rules);
});
