// `skein version`: of this command and of the control plane.
import type { Command } from 'commander';
import { AdminClient, NoControlPlaneError } from './admin-client.ts';
import { newCommand, outputFormat, runCommand, withOutputOption, withStateOption } from './command-line.ts';
import { print, structured } from './output.ts';
import { packageVersion } from './package-version.ts';

interface Options {
  readonly output: string;
  readonly client: boolean;
  readonly state?: string;
}

const program = (): Command =>
  withOutputOption(withStateOption(newCommand('version', 'Print the versions of the command and of the control plane.')))
    .option('--client', 'only the command', false)
    .addHelpText(
      'after',
      '\nExamples:\n  skein version\n  skein version -o json\n\nExit codes: 0 printed (also when no control plane is running), 2 wrong usage.',
    );

export const command = {
  name: 'version',
  summary: 'print the versions of the command and the control plane',
  run: (argv: readonly string[]): Promise<void> =>
    runCommand(program(), argv, async (_operands, options: Options) => {
      const format = outputFormat(options.output);
      const client = packageVersion();
      const controlPlane = options.client ? undefined : await controlPlaneVersion(options.state);
      if (format === 'table') print(`client: ${client}\n${options.client ? '' : `control plane: ${controlPlane ?? 'not running'}\n`}`);
      else print(structured(controlPlane === undefined ? { client } : { client, controlPlane }, format));
    }),
};

const controlPlaneVersion = async (state: string | undefined): Promise<string | undefined> => {
  try {
    const status = (await new AdminClient(state).json('GET', '/v1/status')) as { readonly controlPlane: { readonly version: string } };
    return status.controlPlane.version;
  } catch (error) {
    if (error instanceof NoControlPlaneError) return undefined;
    throw error;
  }
};
