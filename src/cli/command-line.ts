// How every command with a full command line is built and run: help, usage errors as exit code 2, failures told in
// one line. Exit codes of all commands: 0 success, 1 refused or failed, 2 wrong usage, 3 no control plane is running.
import { Command, CommanderError } from 'commander';
import { AdminCallError, NoControlPlaneError } from './admin-client.ts';

export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;
export const EXIT_NO_CONTROL_PLANE = 3;

/** Wrong usage that the option parser cannot see. */
export class UsageError extends Error {}

export const newCommand = (name: string, summary: string): Command =>
  new Command(`skein ${name}`)
    .description(summary)
    .helpOption('-h, --help', 'show this help')
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'skein: ')) });

/** Options that most commands of an operator share. */
export const withStateOption = (command: Command): Command => command.option('--state <dir>', 'state folder of the mesh (env SKEIN_STATE)');

export type OutputFormat = 'table' | 'json' | 'yaml';

export const withOutputOption = (command: Command, formats = 'table, json or yaml'): Command =>
  command.option('-o, --output <format>', formats, 'table');

export const outputFormat = (value: string): OutputFormat => {
  if (value === 'table' || value === 'json' || value === 'yaml') return value;
  throw new UsageError(`--output ${value}: one of table, json, yaml`);
};

/** Parses, runs, and turns every expected failure into a line and an exit code. Anything else is a bug and is thrown. */
export const runCommand = async <O>(
  program: Command,
  argv: readonly string[],
  action: (operands: readonly string[], options: O) => Promise<void>,
): Promise<void> => {
  try {
    program.parse([...argv], { from: 'user' });
    await action(program.args, program.opts<Record<string, unknown>>() as O);
  } catch (error) {
    process.exitCode = exitCodeOf(error);
  }
};

const exitCodeOf = (error: unknown): number => {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE; // commander has written the text
  if (error instanceof UsageError) return said(error.message, EXIT_USAGE);
  if (error instanceof NoControlPlaneError) return said(error.message, EXIT_NO_CONTROL_PLANE);
  if (error instanceof AdminCallError) return said(error.message, EXIT_FAILED);
  throw error;
};

const said = (message: string, code: number): number => {
  process.stderr.write(`skein: ${message}\n`);
  return code;
};
