// `skein check`: is anything about to end? Remaining life of roots, intermediate and leaves, and the state of the control plane, with an
// exit code for a monitor.
import type { Command } from 'commander';
import { AdminClient } from './admin-client.ts';
import { type CaDocument, left } from './ca-document.ts';
import { EXIT_FAILED, newCommand, outputFormat, runCommand, withOutputOption, withStateOption } from './command-line.ts';
import { print, structured, table } from './output.ts';

interface Options {
  readonly output: string;
  readonly state?: string;
}

export interface Finding {
  readonly check: string;
  readonly level: 'ok' | 'warning' | 'error';
  readonly message: string;
}

const DAY_MS = 86_400_000;
/** A root that ends sooner is a warning. */
const ROOT_WARN_MS = 30 * DAY_MS;

const program = (): Command =>
  withOutputOption(
    withStateOption(newCommand('check', 'Say whether a certificate is about to end, or a part of the mesh is not well.')),
  ).addHelpText(
    'after',
    `
Checks: every trusted root lives longer than 30 days, or is being replaced by itself; the intermediate and the certificates of the
workloads live, and are renewed in time; the configuration has no error.

Examples:
  skein check
  skein check -o json | jq -r '.findings[] | select(.level != "ok") | .message'

Exit codes: 0 all is well, 1 a warning or an error, 2 wrong usage, 3 no control plane is running.`,
  );

export const command = {
  name: 'check',
  summary: 'say whether a certificate is about to end or something is not well',
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async (_operands, options: Options) => {
      const format = outputFormat(options.output);
      const client = new AdminClient(options.state);
      const ca = (await client.json('GET', '/v1/ca')) as CaDocument;
      const status = (await client.json('GET', '/v1/status')) as Status;
      const findings = [...caFindings(ca), ...configurationFindings(status)];
      const well = findings.every((f) => f.level === 'ok');
      const rows = findings.map((f) => [f.level, f.check, f.message]);
      print(format === 'table' ? table(['RESULT', 'CHECK', 'SAYS'], rows) : structured({ well, findings }, format));
      if (!well) process.exitCode = EXIT_FAILED;
    }),
};

interface Status {
  readonly generation: number;
  readonly problems: readonly { readonly severity: string }[];
}

const configurationFindings = ({ generation, problems }: Status): readonly Finding[] => {
  const errors = problems.filter((p) => p.severity === 'error').length;
  return [
    errors === 0
      ? { check: 'configuration', level: 'ok', message: `generation ${generation} has no error` }
      : { check: 'configuration', level: 'error', message: `${errors} errors: skein status lists them` },
  ];
};

/** Of what the control plane says at its own time. */
export const caFindings = (ca: CaDocument): readonly Finding[] => {
  const nowMs = Date.parse(ca.now);
  return [...rootFindings(ca, nowMs), ...intermediateFindings(ca, nowMs), ...leafFindings(ca, nowMs)];
};

const rootFindings = (ca: CaDocument, nowMs: number): readonly Finding[] => {
  const replacing = ca.roots.some((r) => Date.parse(r.notAfter) - nowMs >= ROOT_WARN_MS) && ca.roots.length > 1;
  const own = ca.roots.map((root): Finding => {
    const message = `root ${root.id} ends ${root.notAfter} (${left(root.notAfter, nowMs)})`;
    const leftMs = Date.parse(root.notAfter) - nowMs;
    const check = root.signs ? 'root' : 'other root';
    if (leftMs <= 0) return { check, level: 'error', message };
    if (leftMs >= ROOT_WARN_MS) return { check, level: 'ok', message };
    if (ca.rotation?.automatic === true)
      return { check, level: livesShort(root) ? 'ok' : 'warning', message: `${message}; it is replaced by itself` };
    const todo = ca.rotation ? 'skein ca rotate' : 'put its successor into place';
    return { check, level: 'warning', message: `${message}${replacing && !root.signs ? '; it is being replaced' : `: ${todo}`}` };
  });
  const others = ca.federated
    .filter((f) => Date.parse(f.notAfter) - nowMs < ROOT_WARN_MS)
    .map(
      (f): Finding => ({
        check: 'federated root',
        level: 'warning',
        message: `${f.subject} ends ${f.notAfter} (${left(f.notAfter, nowMs)}): ask that mesh for its new bundle`,
      }),
    );
  return [...own, ...others];
};

/** A root that was made for less than the time of the warning would be warned of all its life. */
const livesShort = ({ notBefore, notAfter }: { readonly notBefore: string; readonly notAfter: string }): boolean =>
  Date.parse(notAfter) - Date.parse(notBefore) <= 2 * ROOT_WARN_MS;

const intermediateFindings = ({ intermediate, kind }: CaDocument, nowMs: number): readonly Finding[] => {
  if (!intermediate) return [];
  const leftMs = Date.parse(intermediate.notAfter) - nowMs;
  const message = `the intermediate ends ${intermediate.notAfter} (${left(intermediate.notAfter, nowMs)})`;
  if (leftMs <= 0) return [{ check: 'intermediate', level: 'error', message }];
  // The own one is made anew at half of its life; the operator's is the operator's.
  if (kind === 'own' || leftMs >= ROOT_WARN_MS) return [{ check: 'intermediate', level: 'ok', message }];
  return [{ check: 'intermediate', level: 'warning', message: `${message}: put its successor into --ca-dir` }];
};

const leafFindings = ({ leaves }: CaDocument, nowMs: number): readonly Finding[] => {
  // Half of the life is the time to renew: with a quarter left, several tries have failed.
  const late = leaves.filter((l) => Date.parse(l.notAfter) - nowMs < (Date.parse(l.notAfter) - Date.parse(l.issuedAt)) / 4);
  if (late.length === 0) return [{ check: 'leaves', level: 'ok', message: `${leaves.length} workload certificates in use, none is late` }];
  return late.map(
    (l): Finding => ({
      check: 'leaves',
      level: 'warning',
      message: `the certificate of ${l.holder} ends ${l.notAfter} (${left(l.notAfter, nowMs)}) and was not renewed: skein logs -c proxy`,
    }),
  );
};
