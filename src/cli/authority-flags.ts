// The flags of the certificate authority, of `skein control-plane` and `skein up` alike: lives and rotation.
import { type Command, Option } from 'commander';
import { parseDuration } from '../api/values/duration-text.ts';
import { checkLives, LIVES_DEFAULT, type Lives } from '../identity/lives.ts';

export interface AuthorityFlags {
  readonly leafLife?: string;
  readonly intermediateLife?: string;
  readonly rootLife?: string;
  readonly caRotation?: string;
}

/** A value that cannot be used; the message names the flag. */
export class AuthorityFlagError extends Error {}

export const withAuthorityOptions = (command: Command): Command =>
  [
    new Option('--leaf-life <duration>', 'how long workload certificates live, and the most that is given (default: 24h)').env(
      'SKEIN_LEAF_LIFE',
    ),
    new Option('--intermediate-life <duration>', 'how long the certificate below an own root lives (default: 720h)').env(
      'SKEIN_INTERMEDIATE_LIFE',
    ),
    new Option('--root-life <duration>', 'how long an own root lives (default: 87600h)').env('SKEIN_ROOT_LIFE'),
    new Option('--ca-rotation <auto|manual>', 'own roots are replaced in time by themselves, or by skein ca rotate (default: auto)').env(
      'SKEIN_CA_ROTATION',
    ),
  ].reduce((extended, option) => extended.addOption(option), command);

/** Throws AuthorityFlagError. */
export const authoritySettings = (flags: AuthorityFlags): { readonly lives: Lives; readonly manualRotation: boolean } => {
  const { caRotation = 'auto' } = flags;
  if (caRotation !== 'auto' && caRotation !== 'manual') throw new AuthorityFlagError(`--ca-rotation ${caRotation}: auto or manual`);
  const lives = checkLives({
    leafMs: life('--leaf-life', flags.leafLife, LIVES_DEFAULT.leafMs),
    intermediateMs: life('--intermediate-life', flags.intermediateLife, LIVES_DEFAULT.intermediateMs),
    rootMs: life('--root-life', flags.rootLife, LIVES_DEFAULT.rootMs),
  });
  if (!lives.ok) throw new AuthorityFlagError(`--leaf-life, --intermediate-life and --root-life do not fit together: ${lives.error}`);
  return { lives: lives.value, manualRotation: caRotation === 'manual' };
};

/** The same, to be passed on. */
export const authorityArguments = (flags: AuthorityFlags): readonly string[] =>
  (
    [
      ['--leaf-life', flags.leafLife],
      ['--intermediate-life', flags.intermediateLife],
      ['--root-life', flags.rootLife],
      ['--ca-rotation', flags.caRotation],
    ] as const
  ).flatMap(([name, value]) => (value === undefined ? [] : [name, value]));

const life = (flag: string, text: string | undefined, otherwise: number): number => {
  if (text === undefined) return otherwise;
  const nanoseconds = parseDuration(text);
  if (nanoseconds === undefined || nanoseconds <= 0n) throw new AuthorityFlagError(`${flag} ${text}: give a duration, as 24h or 90s`);
  return Number(nanoseconds / 1_000_000n);
};
