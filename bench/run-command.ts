// Runs a command to its end and answers what it printed. In a session of its own: Ctrl-C is for the benchmark, which ends its commands itself.
import { spawn } from 'node:child_process';

export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}
export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Ends the command, and what it started, early. */
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

const endGroup = (pid: number | undefined): void => {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGTERM');
  } catch {
    // ended by itself
  }
};

export const runCommand = (command: readonly string[], options: RunOptions = {}): Promise<Ran> =>
  new Promise((resolve, reject) => {
    options.signal?.throwIfAborted();
    const [program = '', ...args] = command;
    const child = spawn(program, args, { env: { ...process.env, ...options.env }, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const abort = (): void => endGroup(child.pid);
    const timer = options.timeoutMs === undefined ? undefined : setTimeout(abort, options.timeoutMs);
    options.signal?.addEventListener('abort', abort, { once: true });
    const over = (): void => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', abort);
    };
    child.once('error', (error) => {
      over();
      reject(error);
    });
    child.once('close', (status) => {
      over();
      if (options.signal?.aborted) reject(new Error('interrupted'));
      else resolve({ status, stdout, stderr });
    });
  });

/** The same, but a status other than 0 is an error that tells what was printed. */
export const mustRun = async (command: readonly string[], options: RunOptions = {}): Promise<string> => {
  const { status, stdout, stderr } = await runCommand(command, options);
  if (status !== 0) throw new Error(`${command.join(' ')}: exit ${status}\n${stdout}${stderr}`.trim());
  return stdout;
};
