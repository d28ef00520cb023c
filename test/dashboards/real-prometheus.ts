// A Prometheus from the PATH on a configuration, in a folder of its own; ended with it.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../free-port.ts';

/** For `skip`: false when it is there. */
export const absent = (program: 'prometheus' | 'promtool'): string | false =>
  spawnSync(program, ['--version']).status !== 0 && `there is no ${program} (sh test/setup installs it)`;

export interface RealPrometheus {
  /** Of `/api/v1/PATH`: status and data, or the error. */
  api(path: string): Promise<{ readonly status: string; readonly data?: unknown; readonly error?: string }>;
  stop(): Promise<void>;
}

export const startPrometheus = async (config: string): Promise<RealPrometheus> => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-prometheus-'));
  writeFileSync(join(folder, 'prometheus.yaml'), config);
  const at = `127.0.0.1:${await freePort()}`;
  const args = ['--config.file', join(folder, 'prometheus.yaml'), '--storage.tsdb.path', folder, '--web.listen-address', at];
  const started = spawn('prometheus', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const stop = async (): Promise<void> => {
    started.kill('SIGKILL');
    if (started.exitCode === null && started.signalCode === null) await once(started, 'exit');
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await new Promise<void>((resolve, reject) => {
      let said = '';
      started.stderr.on('data', (chunk: Buffer) => {
        if (said.length < 65_536) said += chunk;
        if (said.includes('Server is ready to receive web requests')) resolve();
      });
      started.once('exit', (code) => reject(new Error(`prometheus exited ${code}\n${said.slice(-2000)}`)));
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    api: async (path) => {
      const answer = await fetch(`http://${at}/api/v1/${path}`, { signal: AbortSignal.timeout(5000) });
      return (await answer.json()) as Awaited<ReturnType<RealPrometheus['api']>>;
    },
    stop,
  };
};
