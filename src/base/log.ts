// The process log: one line per event on standard error, `time level scope message key=value`. Never given a secret.

export type LogLevel = 'debug' | 'info' | 'warning' | 'error' | 'off';
const ORDER: readonly LogLevel[] = ['debug', 'info', 'warning', 'error', 'off'];

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warning(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** The same sink and level under another scope. */
  scope(name: string): Log;
  readonly level: { value: LogLevel };
}
export type LogFields = { readonly [key: string]: string | number | boolean | undefined };

/** `now` and `write` are the caller's: pure rooms never log, tests collect. */
export const createLog = (
  scope: string,
  write: (line: string) => void,
  now: () => Date,
  level: { value: LogLevel } = { value: 'info' },
): Log => {
  const at =
    (severity: LogLevel) =>
    (message: string, fields: LogFields = {}) => {
      if (ORDER.indexOf(severity) < ORDER.indexOf(level.value)) return;
      const tail = Object.entries(fields)
        .filter(([, v]) => v !== undefined)
        .map(([k, v]) => ` ${k}=${typeof v === 'string' && /[\s"=]/.test(v) ? JSON.stringify(v) : v}`)
        .join('');
      write(`${now().toISOString()} ${severity} ${scope} ${message.replaceAll('\n', ' ')}${tail}\n`);
    };
  return {
    debug: at('debug'),
    info: at('info'),
    warning: at('warning'),
    error: at('error'),
    scope: (name) => createLog(name, write, now, level),
    level,
  };
};
