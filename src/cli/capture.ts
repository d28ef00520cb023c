// `skein capture`: programs, removes or shows traffic redirection in the network namespace that it runs in.

import { Command, CommanderError } from 'commander';
import { applyRulesets, type Backend, removeRulesets } from '../agent/capture/apply.ts';
import { type CaptureSettings, parseCaptureSettings } from '../agent/capture/capture-options.ts';
import { resolveOwners } from '../agent/capture/owner-names.ts';
import { captureProgram } from '../agent/capture/program.ts';
import { renderIptables } from '../agent/capture/render-iptables.ts';
import { renderNft } from '../agent/capture/render-nft.ts';

const HELP = `
Examples:
  skein capture apply                                   everything but what user or group 1337 sends, as Istio does
  skein capture apply --proxy-address 10.244.0.10 --dns everything but what comes from that address; DNS too
  skein capture apply --inbound-ports 8080 --exclude-outbound-ports 5432
  skein capture show --format iptables                  what would be programmed, as text
  skein capture remove

Needs the right to change the network namespace (root, or root of its user namespace). The rules are in the tables
"ip skein" and "ip6 skein"; all of them take effect at once or none does.
Exit codes: 0 done, 1 the kernel or a program refused, 2 wrong usage.`;

type Options = CaptureSettings & { readonly backend?: Backend; readonly format: string };

const run = async (argv: readonly string[]): Promise<void> => {
  const program = build();
  try {
    program.parse([...argv], { from: 'user' });
    const [verb] = program.args;
    const options = program.opts<Options>();
    if (verb !== 'apply' && verb !== 'remove' && verb !== 'show') program.error('error: the action is apply, remove or show');
    if (!['nft', 'iptables'].includes(options.format)) program.error('error: --format is nft or iptables');
    if (options.backend !== undefined && !['netlink', 'nft', 'iptables'].includes(options.backend))
      program.error('error: --backend is netlink, nft or iptables');
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? 0 : 2;
    return;
  }
  perform(program.args[0] ?? '', program.opts<Options>());
};

export const command = { name: 'capture', summary: 'program or show traffic redirection in this network namespace', run };

const perform = (verb: string, options: Options): void => {
  const rulesets = captureProgram(parseCaptureSettings(options));
  const target = options.backend === undefined ? {} : { backend: options.backend };
  if (verb === 'show') {
    const text = options.format === 'nft' ? renderNft(rulesets) : rulesets.map((r) => `# ${r.family}\n${renderIptables(r)}`).join('');
    process.stdout.write(text);
    return;
  }
  const numeric = rulesets.map(resolveOwners);
  const backend = verb === 'apply' ? applyRulesets(numeric, target) : removeRulesets(numeric, target);
  process.stdout.write(`${verb === 'apply' ? 'redirection is on' : 'redirection is off'} (${backend})\n`);
};

const build = (): Command =>
  new Command('skein capture')
    .description('Redirect the traffic of this network namespace to a sidecar, or stop doing so.')
    .argument('<apply|remove|show>')
    .option('--inbound-ports <LIST>', 'ports to capture inbound, * for all', '*')
    .option('--exclude-inbound-ports <LIST>', 'besides 15090,15021,15020')
    .option('--exclude-inbound-sources <CIDRS>', 'sources that reach the application directly (probes)')
    .option('--outbound-cidrs <CIDRS>', 'destinations to capture, * for all', '*')
    .option('--exclude-outbound-cidrs <CIDRS>')
    .option('--outbound-ports <LIST>', 'ports to capture whatever the destination')
    .option('--exclude-outbound-ports <LIST>')
    .option('--exclude-interfaces <NAMES>', 'interfaces whose inbound traffic stays')
    .option('--virtual-interfaces <NAMES>', 'interfaces whose inbound traffic counts as outbound (virtual machines)')
    .option('--owner-groups <IDS>', 'only these groups’ outbound traffic, * for all', '*')
    .option('--exclude-owner-groups <IDS>')
    .option('--proxy-uid <IDS>', 'users that the proxy runs as (default: 1337)')
    .option('--proxy-gid <IDS>', 'groups that the proxy runs as (default: the users)')
    .option('--proxy-address <IP>', 'the proxy’s own source address, instead of its user')
    .option('--outbound-port <PORT>', 'the proxy’s outbound port (default: 15001)')
    .option('--inbound-port <PORT>', 'the proxy’s inbound port (default: 15006)')
    .option('--dns', 'redirect DNS too')
    .option('--dns-servers <IPS>', 'only queries to these servers (default: all)')
    .option('--dns-port <PORT>', 'the agent’s DNS port (default: 15053)')
    .option('--drop-invalid', 'drop packets that belong to no connection')
    .option('--ipv6', 'IPv6 too')
    .option('--backend <KIND>', 'netlink, nft or iptables (default: the first that works)')
    .option('--format <KIND>', 'of show: nft or iptables', 'nft')
    .addHelpText('after', HELP)
    .allowExcessArguments(false)
    .exitOverride();
