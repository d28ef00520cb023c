// `skein ca`: the certificate authority of the mesh: its roots, their rotation step by step, and the end of trust in one of them.
import type { Command } from 'commander';
import { AdminClient } from './admin-client.ts';
import { type CaDocument, left } from './ca-document.ts';
import { newCommand, outputFormat, runCommand, UsageError, withOutputOption, withStateOption } from './command-line.ts';
import { print, structured, table } from './output.ts';

interface Options {
  readonly output: string;
  readonly state?: string;
  readonly step?: string;
  readonly force?: boolean;
  readonly now?: boolean;
  readonly root?: string;
}

const SUMMARY = 'show the certificate authority, replace its root, or end trust in a root';

const program = (): Command =>
  withOutputOption(withStateOption(newCommand('ca', 'Show the certificate authority, replace its root, or end trust in a root.')))
    .argument('<action>', 'status, bundle, rotate or revoke')
    .option('--step <name>', 'rotate: only if the next step is this one: prepare, switch or finish')
    .option('--force', 'rotate: take the step although certificates from before the last one are in use')
    .option('--now', 'revoke: meant, and at once')
    .option('--root <id>', 'revoke: this root (default: the one on its way out; the only one, when there is one)')
    .addHelpText(
      'after',
      `
Actions:
  status   roots, intermediate, leaves in use, and the next step of the rotation
  bundle   print every root that workloads trust, as PEM
  rotate   take the next step: prepare (the new root is trusted), switch (it signs), finish (the old root is trusted no more)
  revoke   end trust in a root now: certificates below it are refused and replaced, connections with them close

A step waits until no certificate from before the last step is in use (--leaf-life and a minute), and is refused before that.
With --ca-rotation auto the steps are taken by themselves in time.

Examples:
  skein ca status
  skein ca rotate                       the next step, whichever it is
  skein ca rotate --step switch
  skein ca revoke --now                 a root's key is in wrong hands
  skein ca bundle > roots.pem           for another mesh, or for --xds-ca

Exit codes: 0 done, 1 refused or not yet, 2 wrong usage, 3 no control plane is running.`,
    );

export const command = {
  name: 'ca',
  summary: SUMMARY,
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async ([action], options: Options) => {
      const format = outputFormat(options.output);
      const client = new AdminClient(options.state);
      const show = (value: object, text: string): void => print(format === 'table' ? text : structured(value, format));
      switch (action) {
        case 'status': {
          const ca = (await client.json('GET', '/v1/ca')) as CaDocument;
          return show(ca, statusText(ca));
        }
        case 'bundle':
          return print((await client.call('GET', '/v1/ca/bundle')).text);
        case 'rotate': {
          const body = { ...(options.step === undefined ? {} : { step: options.step }), force: options.force === true };
          const answer = (await client.json('POST', '/v1/ca/rotate', body)) as { readonly taken: string; readonly ca: CaDocument };
          return show(answer, `${TAKEN[answer.taken] ?? answer.taken}\n\n${statusText(answer.ca)}`);
        }
        case 'revoke': {
          if (options.now !== true)
            throw new UsageError('revoke ends trust in every certificate below a root at once; say --now when that is meant');
          const body = options.root === undefined ? {} : { root: options.root };
          const answer = (await client.json('POST', '/v1/ca/revoke', body)) as { readonly revoked: string; readonly ca: CaDocument };
          return show(
            answer,
            `root ${answer.revoked} is revoked: what it signed is refused and being replaced\n\n${statusText(answer.ca)}`,
          );
        }
        default:
          throw new UsageError(`skein ca ${action ?? ''}: one of status, bundle, rotate, revoke`);
      }
    }),
};

const TAKEN: Readonly<Record<string, string>> = {
  prepare: 'prepared: a new root is trusted by everybody, the old one signs',
  switch: 'switched: the new root signs, both are trusted',
  finish: 'finished: the old root is trusted no more',
};

const KINDS = { own: 'own root', folder: 'signing certificate of --ca-dir', signer: 'external signer' } as const;

const statusText = (ca: CaDocument): string => {
  const nowMs = Date.parse(ca.now);
  const rows = ca.roots.map((r) => [
    r.id,
    r.signs ? 'signs' : 'trusted',
    `${r.notAfter} (${left(r.notAfter, nowMs)})`,
    String(ca.leavesByRoot[r.id] ?? 0),
    r.subject,
  ]);
  const gone = Object.entries(ca.leavesByRoot).filter(([id]) => !ca.roots.some((r) => r.id === id));
  const { intermediate, rotation } = ca;
  return [
    `Authority: ${KINDS[ca.kind]}; ${ca.issued} certificates issued since the start, ${ca.leaves.length} in use, each for ${ca.leafSeconds} s at most`,
    '',
    table(['ROOT', 'STATE', 'ENDS', 'LEAVES', 'SUBJECT'], rows).trimEnd(),
    ...gone.map(([id, count]) => `${count} leaves in use are below root ${id}, which is not trusted any more`),
    ...ca.federated.map(
      (f) =>
        `Trusted as well${f.trustDomains ? ` for ${f.trustDomains.join(', ')}` : ''}: ${f.subject}, ends ${f.notAfter} (${left(f.notAfter, nowMs)})`,
    ),
    '',
    ...(intermediate ? [`Intermediate: ends ${intermediate.notAfter} (${left(intermediate.notAfter, nowMs)})`] : []),
    ...(rotation ? [rotationText(rotation, nowMs)] : ['Rotation: the roots are not the control plane’s own']),
    '',
  ].join('\n');
};

const rotationText = (r: NonNullable<CaDocument['rotation']>, nowMs: number): string => {
  const wait = Date.parse(r.soundFrom) > nowMs ? `possible from ${r.soundFrom} (in ${left(r.soundFrom, nowMs)})` : 'possible now';
  const due = r.due === undefined ? 'by hand' : `by itself at ${r.due}`;
  return `Rotation: ${r.phase}, ${r.replaced} roots replaced so far; next step ${r.next}, ${wait}, ${due}`;
};
